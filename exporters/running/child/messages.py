"""What a process and its child say to each other: a JSON header, then the bytes of arrays.

Nothing is pickled. The parent trusts no length: a child that has loaded a hostile file may say
anything.
"""

import json
import math
import struct

import numpy as np

_LENGTH = struct.Struct("<Q")
MOST_HEADER_BYTES = 1 << 24
_KINDS = "biufcS"


def pack(body, arrays=()):
    """Turn a JSON-able body and arrays into what is written.

    Args:
        body: a dict of JSON values.
        arrays: NumPy arrays of numbers, or of byte strings.

    Returns:
        The message in pieces, to be written one after the other; arrays are not copied.
    """
    arrays = [np.ascontiguousarray(_sendable(array)) for array in arrays]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps({"body": body, "arrays": described}).encode()
    return [_LENGTH.pack(len(header)) + header, *(array.data for array in arrays if array.size)]


def unpack(receive, most_bytes=1 << 40):
    """Read one message.

    Args:
        receive: a function from a number of bytes to exactly so many bytes.
        most_bytes: refuse more array data than this.

    Returns:
        (body, arrays).

    Raises:
        ValueError: the message is malformed or larger than allowed.
    """
    (size,) = _LENGTH.unpack(receive(_LENGTH.size))
    if size > MOST_HEADER_BYTES:
        raise ValueError(f"a message header of {size} bytes")
    header = json.loads(receive(size))
    arrays = []
    for name, shape in header["arrays"]:
        dtype = np.dtype(name)
        length = math.prod(shape) * dtype.itemsize
        if dtype.kind not in _KINDS or any(side < 0 for side in shape) or length > most_bytes:
            raise ValueError(f"an array of type {name} and shape {shape}")
        most_bytes -= length
        arrays.append(np.frombuffer(receive(length), dtype).reshape(shape))
    return header["body"], arrays


def _sendable(array):
    array = np.asarray(array)
    return array.astype("S") if array.dtype.kind in "OU" else array

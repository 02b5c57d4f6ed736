"""The program of the child process that loads files from anywhere, and how to talk to it.

It is started by its path, with any Python that has NumPy and a runtime, and imports nothing else of
this project. Arguments: the runtime's module, and the bytes of memory that it may take beyond what
the runtime's import takes (0: no limit). It answers requests on standard input until that closes.

A message is a JSON header, then the bytes of arrays. Nothing is pickled, and the parent trusts no
length: a child that has loaded a hostile file may send anything.
"""

import importlib
import json
import math
import os
import struct
import sys
import time

import numpy as np

KERNELS = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
MICRO_MODULE = "tflite_micro.python.tflite_micro.runtime"
# Arenas that are tried, in KiB. In the smallest ones the interpreter aborts instead of refusing.
_ARENA_STEP, _SMALLEST_ARENA, _FIRST_ARENA, _LARGEST_ARENA = 1 << 10, 4, 1 << 8, 1 << 18
MAX_HEADER_BYTES = 1 << 24
_LENGTH = struct.Struct("<Q")
_KINDS = "biufcS"


def pack(body, arrays=()):
    """Return a message of JSON values and arrays in pieces; arrays are not copied."""
    arrays = [np.ascontiguousarray(_sendable(array)) for array in arrays]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps({"body": body, "arrays": described}).encode()
    return [_LENGTH.pack(len(header)) + header, *(array.data for array in arrays if array.size)]


def unpack(receive, max_bytes=1 << 40):
    """Read a message with a function from a number of bytes to those bytes: (body, arrays)."""
    (size,) = _LENGTH.unpack(receive(_LENGTH.size))
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"a message header of {size} bytes")
    header = json.loads(receive(size))
    arrays = []
    for name, shape in header["arrays"]:
        dtype = np.dtype(name)
        length = math.prod(shape) * dtype.itemsize
        if dtype.kind not in _KINDS or any(side < 0 for side in shape) or length > max_bytes:
            raise ValueError(f"an array of type {name} and shape {shape}")
        max_bytes -= length
        arrays.append(np.frombuffer(receive(length), dtype).reshape(shape))
    return header["body"], arrays


def _sendable(array):
    array = np.asarray(array)
    return array.astype("S") if array.dtype.kind in "OU" else array


def interpreter_types(module):
    """Import a runtime; return its Interpreter and its OpResolverType."""
    imported = importlib.import_module(module)
    if module == MICRO_MODULE:
        return imported.Interpreter, None
    if module == "tensorflow":
        return imported.lite.Interpreter, imported.lite.experimental.OpResolverType
    return imported.Interpreter, imported.OpResolverType


class Session:
    """A file loaded by a runtime.

    ``inputs`` and ``outputs`` are tensor indices, or names where ``signature`` is given.
    """

    def __init__(
        self, *, module, content, kernels, threads, inputs, outputs, signature=None, keep_all=False
    ):
        interpreter, resolvers = interpreter_types(module)
        self._interpreter = interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=getattr(resolvers, KERNELS[kernels]),
            experimental_preserve_all_tensors=keep_all,
        )
        self._inputs, self._outputs = inputs, outputs
        self._runner = None
        if signature is None:
            self._interpreter.allocate_tensors()
        else:
            self._runner = self._interpreter.get_signature_runner(signature)

    def run(self, inputs, tensors=()):
        """Run once for each entry of the leading axis; return outputs, then intermediate tensors.

        All arrays have shape (runs, *shape of the tensor).
        """
        runs = zip(*inputs, strict=True) if inputs else [()]
        rows = [self._run_once(row, tensors) for row in runs]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def _run_once(self, row, tensors):
        # Every example starts anew: the state of a recurrent operation stays in the file's tensors.
        self._interpreter.reset_all_variables()
        if self._runner is not None:
            named = self._runner(**dict(zip(self._inputs, row, strict=True)))
            return [named[name] for name in self._outputs]
        self.feed(row)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in (*self._outputs, *tensors)]

    def feed(self, row):
        """Set the inputs of the main graph."""
        for index, value in zip(self._inputs, row, strict=True):
            self._interpreter.set_tensor(index, value)

    def time(self, runs):
        """Return the seconds of each run of the main graph on the inputs that were set last."""
        seconds = []
        for _ in range(runs):
            begin = time.perf_counter()
            self._interpreter.invoke()
            seconds.append(time.perf_counter() - begin)
        return seconds


class MicroSession(Session):
    """A file loaded by TensorFlow Lite for Microcontrollers: one graph, one kernel set.

    ``arena`` is the smallest memory for tensors that it takes here, with pointers of this computer.
    """

    def __init__(self, *, module, content, inputs, outputs, **_):
        interpreter, _resolvers = interpreter_types(module)
        self._inputs, self._outputs = range(len(inputs)), range(len(outputs))
        low, high = _SMALLEST_ARENA - 1, _FIRST_ARENA
        while not _fits(interpreter, content, high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            fits = _fits(interpreter, content, middle)
            low, high = (low, middle) if fits else (middle, high)
        self.arena = high * _ARENA_STEP
        self._interpreter = interpreter.from_bytes(content, arena_size=self.arena)

    def _run_once(self, row, tensors):
        if len(tensors):
            raise ValueError("TFLite Micro gives no intermediate tensors")
        self._interpreter.reset()
        self.feed(row)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(place)) for place in self._outputs]

    def feed(self, row):
        """Set the inputs."""
        for place, value in zip(self._inputs, row, strict=True):
            self._interpreter.set_input(value, place)


def _fits(interpreter, content, steps):
    """Return whether an arena is large enough; raise the interpreter's error if none is."""
    try:
        interpreter.from_bytes(content, arena_size=steps * _ARENA_STEP)
    except RuntimeError:
        if steps >= _LARGEST_ARENA:
            raise
        return False
    return True


def open_session(content, settings):
    """Load a file in the runtime that the settings name."""
    kind = MicroSession if settings["module"] == MICRO_MODULE else Session
    return kind(content=content, **settings)


def peak_memory():
    """Return the most memory that this process has had in RAM, in bytes; 0 on Windows."""
    try:
        # Linux counts the memory of the parent into `ru_maxrss`.
        with open("/proc/self/status") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
    except OSError:
        return resident_maximum()
    return int(lines[0].split()[1]) * 1024


def resident_maximum():
    """Ask the system: macOS counts bytes, others KiB, Windows has no such call."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _limit_memory(allowed):
    """Limit the memory that this process may take from now on, and write no core file."""
    try:
        import resource
    except ImportError:  # on Windows, where there are neither limits nor core files
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if allowed:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + allowed, now + allowed))


def _answer(state, body, arrays):
    """Carry out one request; ``state`` holds the session between requests."""
    request = body["do"]
    if request == "load":
        state.clear()
        session = open_session(arrays[0].tobytes(), body["settings"])
        state["session"] = session
        return {"peak_memory": peak_memory(), "arena": getattr(session, "arena", None)}, []
    if request == "run":
        return {}, state["session"].run(arrays, body["tensors"])
    if request == "feed":
        state["session"].feed(arrays)
        return {}, []
    if request == "time":
        seconds = state["session"].time(body["runs"])
        return {"peak_memory": peak_memory()}, [np.array(seconds)]
    raise ValueError("unknown request: " + request)


def _serve(module, memory):
    """Answer one request after the other."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints goes to standard error, not between messages

    def write(pieces):
        for piece in pieces:
            pipe.write(piece)
        pipe.flush()

    interpreter_types(module)
    _limit_memory(memory)
    write(pack({"ready": True, "peak_memory": peak_memory()}))
    state = {}
    while sys.stdin.buffer.peek(1):
        body, arrays = unpack(sys.stdin.buffer.read)
        try:
            pieces = pack(*_answer(state, body, arrays))
        except Exception as error:  # whatever the runtime raises is the answer
            pieces = pack({"error": str(error), "type": type(error).__name__})
        write(pieces)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))

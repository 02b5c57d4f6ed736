"""The code in a bundle, made from the details of the model's inputs and outputs."""

import importlib.resources
import pprint
import string
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from tfcompress.tflite.encoding import DECODE

Details = dict[str, Any]  # "name", "shape", "dtype", "scale" and "zero_point" of a tensor

_KEYS = ("name", "shape", "dtype", "scale", "zero_point")
_BYTES_PER_LINE = 12
# Names in the resolver that are not the operation's in camel case.
_RESOLVER_NAMES = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "CUSTOM:ethos-u": "EthosU",
    f"CUSTOM:{DECODE}": "Decode",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_RESET = """
// The model keeps state between runs: call it before each sequence.
bool ResetModel() { return interpreter->Reset() == kTfLiteOk; }
"""


def python_snippet(inputs: Sequence[Details], outputs: Sequence[Details]) -> str:
    """Return a Python module that runs the model on real numbers."""

    def literal(tensors):
        shown = [{key: details[key] for key in _KEYS} for details in tensors]
        return pprint.pformat(shown, width=96, sort_dicts=False)

    return template("inference.py.txt").substitute(inputs=literal(inputs), outputs=literal(outputs))


def kotlin_snippet(
    inputs: Sequence[Details], outputs: Sequence[Details], threads: int, package: str
) -> str:
    """Return a Kotlin class for Android that runs the model on real numbers."""
    return template("Inference.kt.txt").substitute(
        inputs=_kotlin_details(inputs),
        outputs=_kotlin_details(outputs),
        threads=threads,
        package=package,
    )


def _kotlin_details(tensors: Sequence[Details]) -> str:
    lines = []
    for details in tensors:
        name = details["name"].replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        shape = ", ".join(map(str, details["shape"]))
        scale = 1.0 if details["scale"] is None else details["scale"]
        lines.append(
            f'        TensorDetails("{name}", "{details["dtype"]}", intArrayOf({shape}), '
            f"{scale!r}f, {details['zero_point']}),"
        )
    return "\n".join(lines)


def c_header(size: int, arena: int, tried: int | None = None) -> str:
    """Return the header of the C array.

    ``arena`` is the estimated memory of the tensors, ``tried`` what TFLite Micro took here.
    """
    found = "" if tried is None else f"Found by trying, with pointers of 64 bits: {tried}. "
    return textwrap.dedent(f"""\
        #ifndef MODEL_DATA_H_
        #define MODEL_DATA_H_

        #ifdef __cplusplus
        extern "C" {{
        #endif

        extern const unsigned char model_data[];
        extern const unsigned int model_data_size;

        /* {found}An estimate: start with more, ask arena_used_bytes(). */
        #define MODEL_ARENA_ESTIMATE {arena}
        #define MODEL_DATA_SIZE {size}

        #ifdef __cplusplus
        }}
        #endif

        #endif /* MODEL_DATA_H_ */
        """)


def c_array(content: bytes) -> str:
    """Return the model as a C array, aligned as the interpreter requires."""
    rows = (
        "  " + ", ".join(f"0x{byte:02x}" for byte in content[start : start + _BYTES_PER_LINE])
        for start in range(0, len(content), _BYTES_PER_LINE)
    )
    return (
        '#include "model_data.h"\n\n'
        "const unsigned char model_data[] __attribute__((aligned(16))) = {\n"
        + ",\n".join(rows)
        + f"\n}};\n\nconst unsigned int model_data_size = {len(content)};\n"
    )


def micro_snippet(operations: Iterable[str], keeps_state: bool = False) -> str:
    """Return a C++ file that runs the model with TensorFlow Lite for Microcontrollers.

    Source: micro_mutable_op_resolver.h of https://github.com/tensorflow/tflite-micro.
    """
    adds = [f"  resolver.Add{resolver_name(name)}();" for name in sorted(set(operations))]
    return template("inference.cc.txt").substitute(
        count=len(adds), operations="\n".join(adds), reset=_RESET if keeps_state else ""
    )


def resolver_name(operation: str) -> str:
    """Return the name of an operation in MicroMutableOpResolver, without "Add" before it."""
    camel_case = "".join(part[0] + part[1:].lower() for part in operation.split("_"))
    return _RESOLVER_NAMES.get(operation, camel_case).replace("2d", "2D")


def template(name: str) -> string.Template:
    """Read a template of a bundle's file."""
    return string.Template(bundle_file(name))


def bundle_file(name: str) -> str:
    """Read a file of bundles."""
    return importlib.resources.files("exporters").joinpath("bundle_files", name).read_text("utf-8")

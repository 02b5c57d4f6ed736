"""The text files of a bundle, made from one description of the model's inputs and outputs."""

import importlib.resources
import pprint
import string
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

PortFacts = dict[str, Any]
_BYTES_A_LINE = 12
# Where the resolver's name is not the operation's with capitals for underscores.
_NAMES = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_RESET = """
// The model keeps state between runs: call it before each sequence.
bool ResetModel() { return interpreter->Reset() == kTfLiteOk; }
"""


def python_snippet(inputs: Sequence[PortFacts], outputs: Sequence[PortFacts]) -> str:
    """Write a Python module that runs the model on real numbers.

    Args:
        inputs: the inputs' "name", "shape", "dtype", "scale" and "zero_point".
        outputs: the outputs' likewise.

    Returns:
        Its text.
    """
    literals = {
        key: pprint.pformat([_bare(port) for port in ports], width=96, sort_dicts=False)
        for key, ports in (("inputs", inputs), ("outputs", outputs))
    }
    return template("inference.py.txt").substitute(literals)


def kotlin_snippet(
    inputs: Sequence[PortFacts], outputs: Sequence[PortFacts], threads: int, package: str
) -> str:
    """Write a Kotlin class for Android that runs the model on real numbers.

    Args:
        inputs: as for ``python_snippet``.
        outputs: likewise.
        threads: threads to use.
        package: the name of its package.

    Returns:
        Its text.
    """
    return template("Inference.kt.txt").substitute(
        inputs=_kotlin_ports(inputs),
        outputs=_kotlin_ports(outputs),
        threads=threads,
        package=package,
    )


def c_header(size: int, arena: int) -> str:
    """Write the header of the C array.

    Args:
        size: the model's bytes.
        arena: the estimated bytes of its tensors.

    Returns:
        Its text.
    """
    return textwrap.dedent(f"""\
        #ifndef MODEL_DATA_H_
        #define MODEL_DATA_H_

        #ifdef __cplusplus
        extern "C" {{
        #endif

        extern const unsigned char model_data[];
        extern const unsigned int model_data_size;

        /* An estimate, with the portable kernels: start with more, ask arena_used_bytes(). */
        #define MODEL_ARENA_ESTIMATE {arena}
        #define MODEL_DATA_SIZE {size}

        #ifdef __cplusplus
        }}
        #endif

        #endif /* MODEL_DATA_H_ */
        """)


def c_array(content: bytes) -> str:
    """Write the model as a C array, aligned as the interpreter wants it.

    Args:
        content: the model.

    Returns:
        Its text.
    """
    rows = (
        "  " + ", ".join(f"0x{byte:02x}" for byte in content[start : start + _BYTES_A_LINE])
        for start in range(0, len(content), _BYTES_A_LINE)
    )
    return (
        '#include "model_data.h"\n\n'
        "const unsigned char model_data[] __attribute__((aligned(16))) = {\n"
        + ",\n".join(rows)
        + f"\n}};\n\nconst unsigned int model_data_size = {len(content)};\n"
    )


def template(name: str) -> string.Template:
    """Read one of the templates."""
    return string.Template(bundle_file(name))


def bundle_file(name: str) -> str:
    """Read a file that goes into bundles."""
    return importlib.resources.files("exporters").joinpath("bundle_files", name).read_text("utf-8")


def _bare(port: PortFacts) -> PortFacts:
    return {key: port[key] for key in ("name", "shape", "dtype", "scale", "zero_point")}


def _kotlin_ports(ports: Sequence[PortFacts]) -> str:
    lines = []
    for port in ports:
        name = port["name"].replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        shape = ", ".join(map(str, port["shape"]))
        scale = 1.0 if port["scale"] is None else port["scale"]
        lines.append(
            f'        Port("{name}", "{port["dtype"]}", intArrayOf({shape}), '
            f"{scale!r}f, {port['zero_point']}),"
        )
    return "\n".join(lines)


def micro_snippet(operations: Iterable[str], keeps_state: bool = False) -> str:
    """Write a C++ file that runs a model with TensorFlow Lite for Microcontrollers.

    Args:
        operations: the names of the file's operations.
        keeps_state: whether the model has variables that outlive a run.

    Returns:
        Its text.

    Source: micro_mutable_op_resolver.h of https://github.com/tensorflow/tflite-micro.
    """
    adds = [f"  resolver.Add{resolver_name(name)}();" for name in sorted(set(operations))]
    return template("inference.cc.txt").substitute(
        count=len(adds), operations="\n".join(adds), reset=_RESET if keeps_state else ""
    )


def resolver_name(operation: str) -> str:
    """Return what a MicroMutableOpResolver calls an operation, without the "Add" before it."""
    parts = operation.split("_")
    return _NAMES.get(operation, "".join(part[0] + part[1:].lower() for part in parts)).replace(
        "2d", "2D"
    )

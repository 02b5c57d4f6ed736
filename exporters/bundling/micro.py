"""C++ for microcontrollers: the interpreter with the operations of one file."""

from collections.abc import Iterable

from exporters.bundling.snippets import template

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

"""Which operations of a .tflite file compute in floating point."""

from collections.abc import Container, Mapping

from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel

FLOAT_TYPES = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})


def float_operations(model: TFLiteModel) -> tuple[Operation, ...]:
    """List the operations that compute in float: none in an integer file.

    An operation counts if one of its outputs, or an input that is not constant, is a float tensor:
    so does a hybrid operation (int8 weights, float activations: dynamic range).

    A QUANTIZE that reads an input of the model, and a DEQUANTIZE that writes an output, do not
    count: they are how an integer file takes and returns floats. Inside the graph, or in the body
    of a loop, they do: they are the boundaries of a float region.
    """
    entries = model.entry_subgraphs()
    return tuple(
        operation
        for subgraph in model.subgraphs
        for operation in subgraph.operations
        if _touches_float(operation, subgraph)
        and not (subgraph.index in entries and _at_boundary(operation, subgraph))
    )


def list_refused(found: Mapping[str, tuple[str, ...]], allowed: Container[str]) -> str:
    """Return text for an error: the layers that compute in float and may not, and advice.

    Returns:
        A line for each layer and one of advice; empty if every layer may.
    """
    refused = {layer: names for layer, names in found.items() if layer not in allowed}
    if not refused:
        return ""
    lines = [f"  {layer}: {', '.join(names)}" for layer, names in refused.items()]
    advice = f"Replace them, or allow them with allow_float={sorted(refused)!r}."
    if any("CAST" in names for names in refused.values()):
        advice += (
            " An input of another type than its layers compute with is cast: declare indices with "
            "keras.Input(..., dtype='int32'), images with dtype='float32'; a file can take bytes "
            "for them, by `input_dtype`."
        )
    return "\n".join([*lines, advice])


def _touches_float(operation: Operation, subgraph: Subgraph) -> bool:
    used = [subgraph.tensors[index] for index in operation.inputs if index >= 0]
    computed = [subgraph.tensors[index] for index in operation.outputs if index >= 0]
    values = [tensor for tensor in used if not tensor.constant] + computed
    return any(tensor.dtype in FLOAT_TYPES for tensor in values)


def _at_boundary(operation: Operation, subgraph: Subgraph) -> bool:
    if operation.name == "QUANTIZE":
        return set(operation.inputs) <= set(subgraph.inputs)
    if operation.name == "DEQUANTIZE":
        return set(operation.outputs) <= set(subgraph.outputs)
    return False

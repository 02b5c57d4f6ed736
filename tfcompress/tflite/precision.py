"""Which operations of a .tflite file compute in floating point."""

from collections.abc import Container, Iterable, Mapping

from tfcompress.tflite.model import Operation, Subgraph, TFLiteModel
from tfcompress.tflite.names import layer_behind

FLOAT_TYPES = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})


def float_operations(model: TFLiteModel) -> tuple[Operation, ...]:
    """List the operations that compute in float: empty for an integer file.

    An operation counts when one of its outputs, or an input that is no constant, is a float
    tensor. So a hybrid operation (int8 weights, float activations: dynamic range) counts.

    Boundary rule: a QUANTIZE that reads an input of the model, and a DEQUANTIZE that writes an
    output of it, do not count: they are how an integer file takes and gives floats. "Of the model"
    means of a subgraph that a caller can run (the main one, or one that a signature names); inside
    the graph, or in the body of a loop, both count: they mark the edges of a float island.
    """
    entries = model.entry_subgraphs()
    return tuple(
        operation
        for subgraph in model.subgraphs
        for operation in subgraph.operations
        if _touches_float(operation, subgraph)
        and not (subgraph.index in entries and _at_boundary(operation, subgraph))
    )


def float_layers(model: TFLiteModel, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Find the Keras layers that compute in float."""
    paths = list(paths)
    found: dict[str, tuple[str, ...]] = {}
    for operation in float_operations(model):
        if operation.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        layer = _layer_of(operation, model, paths)
        found[layer] = (*found.get(layer, ()), operation.name)
    return found


def _layer_of(operation: Operation, model: TFLiteModel, paths: list[str]) -> str:
    """Tell the layer behind an operation by what it gives, or else by the constants it takes.

    What leaves the model is named after the signature's output, which has the name of a layer.
    """
    tensors = model.subgraphs[operation.subgraph].tensors
    output = operation.outputs[0]
    signed = {
        index: name
        for signature in model.signatures
        if signature.subgraph == operation.subgraph
        for name, index in signature.outputs.items()
    }
    constants = [tensors[i].name for i in operation.inputs if i >= 0 and tensors[i].constant]
    for name in (tensors[output].name, *constants):
        layer = layer_behind(name, paths)
        if layer in paths:
            return layer
    return signed.get(output, tensors[output].name)


def list_refused(found: Mapping[str, tuple[str, ...]], allowed: Container[str]) -> str:
    """List the layers that compute in float and may not, and say what to do, for an error.

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

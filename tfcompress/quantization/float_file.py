"""A model's float .tflite file: all that is used of the TensorFlow Lite converter.

The converter fuses, folds and lowers a graph to TFLite operations. It quantizes nothing here: the
integers are written afterwards. So another converter can take its place.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfcompress.compat.tflite_converter import convert_frozen_graph
from tfcompress.native_output import silenced_tensorflow
from tfcompress.quantization.tracing import TracedModel, dependent_nodes, make_constant
from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.model import TFLiteModel
from tfcompress.tflite.names import layer_scope
from tfcompress.tflite.rewriting import with_biases_as_vectors

# TFLite has no constant folding for these.
_NEVER_FOLDED = frozenset({"MatrixDiag", "MatrixDiagV2", "MatrixDiagV3", "MatrixBandPart"})


class ConversionError(RuntimeError):
    """The converter could not make a file of the model."""


def float_file(
    traced: TracedModel, weights: Mapping[str, np.ndarray], batch_size: int | None = 1
) -> tuple[bytes, TFLiteModel]:
    """Convert a traced model to a float .tflite file without signatures, and read it."""
    definition = _with_constants(traced, weights, batch_size)
    with _silence():
        try:
            content = convert_frozen_graph(definition, traced.inputs, traced.outputs)
        except Exception as error:
            raise _explained(str(error), traced.paths) from error
    return with_biases_as_vectors(content, read_model(content))


def _with_constants(traced, weights, batch_size):
    """Return the graph with weights as constants and the batch size of the file."""
    definition = tf.compat.v1.GraphDef()
    definition.CopyFrom(traced.definition)
    constants = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    constants |= _not_folded(traced, weights)
    for node in definition.node:
        if node.name in constants:
            make_constant(node, constants[node.name])
        elif node.name in traced.inputs and node.attr["shape"].shape.dim:
            size = -1 if batch_size is None else batch_size
            node.attr["shape"].shape.dim[0].size = size
        node.attr.pop("_output_shapes", None)
    return definition


def _not_folded(traced, weights):
    """Compute the constants that the converter would leave to the device, by their node."""
    constant = {node.name for node in traced.definition.node} - dependent_nodes(
        traced.definition, traced.inputs
    )
    names = [
        node.name
        for node in traced.definition.node
        if node.name in constant and node.op in _NEVER_FOLDED
    ]
    values = traced.run([f"{name}:0" for name in names], (), weights) if names else ()
    return dict(zip(names, values, strict=True))


# What it says of an operation that TFLite does not have, and where that is: its type, its node.
_UNKNOWN = re.compile(r"error: loc\((.*?)\): 'tf\.(\w+)' op is neither a custom op nor a flex op")
_NODE = re.compile(r'fused\["\w+:", "([^"@]+)')


def _explained(text, paths):
    """Return the error that says what the converter does, by the paths of nodes' layers."""
    lines = [
        f"  {_layer(location, paths)}: {operation}"
        for location, operation in _UNKNOWN.findall(text)
    ]
    if lines:
        listed = "\n".join(dict.fromkeys(lines))
        return ConversionError(
            f"TFLite has no such operations as the model makes in these layers:\n{listed}\n"
            "Compute that with others, or outside of the model."
        )
    return ConversionError(f"The TFLite converter refused the model: {text}")


def _layer(location, paths):
    """Return the path of the layer that an error is about, or else its scope."""
    node = _NODE.search(location)
    name = node[1] if node else location
    return paths.get(name) or layer_scope(name) or name


@contextlib.contextmanager
def _silence():
    """Keep TensorFlow's own remarks about converting off the user's terminal."""
    # TensorFlow sets the levels itself on the way; a filter stays.
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    # Of warnings and loggers, too, there is one for all threads.
    with silenced_tensorflow():
        for logger in loggers:
            logger.addFilter(_is_error)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            for logger in loggers:
                logger.removeFilter(_is_error)


def _is_error(record):
    """Tell whether a record is about an error."""
    return record.levelno >= logging.ERROR

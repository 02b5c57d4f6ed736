"""From a Keras model to a TFLite flatbuffer, through the TensorFlow Lite converter."""

import contextlib
import dataclasses
import io
import keyword
import logging
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from tfcompress.graph.deploying import deploying
from tfcompress.graph.interception import VariableSwap, float32_computation
from tfcompress.graph.wrapper import ModelWrapper, unwrap
from tfcompress.tflite.names import layer_scope
from tfcompress.tflite.ordering import PortNames, in_order

_ARGUMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ConversionError(RuntimeError):
    """The converter could not make a file of the model."""


class MissingKernelError(ConversionError):
    """An operation of the model has no kernel for the numbers that were asked for."""


def input_specs(model: keras.Model, batch_size: int | None = 1) -> list[tf.TensorSpec]:
    """Describe what a model's inference function takes.

    Args:
        model: a built Keras model.
        batch_size: the fixed batch size, or ``None`` for one that is free at run time.

    Returns:
        One spec per input, in the order of ``model.inputs``, named after them.

    Raises:
        ValueError: the model has no declared inputs, a dimension besides the batch is unknown, or
            TensorFlow does not take an input's name for a signature.
    """
    inputs = getattr(unwrap(model), "inputs", None)
    if not inputs:
        raise ValueError(
            f"Model {model.name!r} does not declare its inputs, so their shapes are not known. "
            "Call the layers on `keras.Input` objects and make a `keras.Model` of the result."
        )
    specs = []
    for tensor in inputs:
        shape = tuple(tensor.shape)
        if None in shape[1:]:
            raise ValueError(
                f"Input {tensor.name!r} of model {model.name!r} has an unknown dimension besides "
                f"the batch, and a deployed model needs fixed ones. Received: shape={shape}"
            )
        if not _names_an_argument(tensor.name):
            raise ValueError(
                f"Input {tensor.name!r} of model {model.name!r} cannot have that name in a "
                "signature: TensorFlow takes letters, digits, '_', '.' and '-', no '_' at the "
                "front, and no word of Python. Build the model with another, "
                f"`keras.Input(..., name='inputs')`. Received: name={tensor.name!r}"
            )
        specs.append(tf.TensorSpec((batch_size, *shape[1:]), tensor.dtype, tensor.name))
    return specs


def _names_an_argument(name: str) -> bool:
    legal = _ARGUMENT.fullmatch(name) and not keyword.iskeyword(name)
    return legal and name != "self"  # which is the function that TensorFlow calls


def arrange_inputs(model: keras.Model, tensors: list):
    """Arrange one tensor per input as the user's model takes them: bare, as a list or as a dict."""
    structure = getattr(unwrap(model), "_inputs_struct", None)
    if structure is None:
        return tensors[0] if len(tensors) == 1 else list(tensors)
    return keras.tree.pack_sequence_as(structure, list(tensors))


def freeze(model: keras.Model, specs: list[tf.TensorSpec]):
    """Trace what a model computes at inference in float32, with its weights as constants.

    Args:
        model: a built Keras model.
        specs: see ``input_specs``. A fixed batch size spares the shape operations of a free one.

    Returns:
        A concrete function from the inputs to the flat list of outputs, which calls no others.
    """
    with deploying():
        traced = freeze_keeping_functions(model, specs)
    if traced.graph.captures or any(_calls_functions(o) for o in traced.graph.get_operations()):
        return convert_variables_to_constants_v2(traced)
    return traced


def freeze_keeping_functions(model: keras.Model, specs: list[tf.TensorSpec]):
    """Do what ``freeze`` does, but leave functions that layers call as they are.

    The converter knows some functions by what they say of themselves; ``freeze`` would dissolve
    them.

    Args:
        model: a built Keras model.
        specs: see ``input_specs``.

    Returns:
        A concrete function from the inputs to the flat list of outputs. State that is not in Keras
        variables is captured.
    """
    run = _inference(model)
    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in model.variables]

    # Constants from the beginning: to put them in place of variables afterwards copies the graph,
    # which takes longer than to trace it.
    def infer(*tensors):
        with VariableSwap([(variable, tf.constant(value)) for variable, value in values]):
            return keras.tree.flatten(run(*tensors))

    with float32_computation(model):
        return tf.function(infer, autograph=False).get_concrete_function(*specs)


def _calls_functions(operation):
    return any(a.HasField("func") or a.list.func for a in operation.node_def.attr.values())


def _inference(model):
    # A wrapper's own name scope would stand before the names of the user's layers.
    run = model.call if isinstance(model, ModelWrapper) else model
    return lambda *tensors: run(arrange_inputs(model, tensors), training=False)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A signature of the file to make.

    Attributes:
        function: what it computes, see ``freeze``.
        specs: the specs that it was frozen with; their names become those of the inputs.
        output_names: the names of the outputs, in order.
    """

    function: Callable
    specs: Sequence[tf.TensorSpec]
    output_names: Sequence[str]


def convert(
    entries: Mapping[str, Entry],
    configure: Callable[[tf.lite.TFLiteConverter], None] = lambda converter: None,
) -> bytes:
    """Convert frozen functions to a flatbuffer with a signature for each.

    Args:
        entries: the signatures by key; the first is the main graph. Equal weights are stored once.
        configure: sets options of the converter before it runs.

    Returns:
        The flatbuffer.

    Raises:
        ConversionError: the converter refuses a function.
    """
    names = {
        key: PortNames([spec.name for spec in entry.specs], entry.output_names)
        for key, entry in entries.items()
    }
    module = tf.Module()
    # An attribute of the module keeps each function, and what it needs, alive and saved.
    module.functions = {key: _named(entry) for key, entry in entries.items()}
    with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder, _silence():
        tf.saved_model.save(
            module,
            folder,
            signatures={
                key: function.get_concrete_function() for key, function in module.functions.items()
            },
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(entries))
        return in_order(_run(converter, configure), names)


def _named(entry: Entry):
    return tf.function(
        lambda *tensors: dict(zip(entry.output_names, entry.function(*tensors), strict=True)),
        input_signature=entry.specs,
        autograph=False,
    )


def convert_plainly(
    function, configure: Callable[[tf.lite.TFLiteConverter], None] = lambda converter: None
) -> bytes:
    """Convert a frozen function without signatures, for a quick look at what becomes of it."""
    return convert_with(tf.lite.TFLiteConverter.from_concrete_functions([function]), configure)


def convert_with(converter, configure: Callable = lambda converter: None, *graph) -> bytes:
    """Let a converter make a flatbuffer, without its remarks.

    Args:
        converter: one of TensorFlow's.
        configure: sets its options.
        *graph: what it converts, where it does not know that already.

    Returns:
        The flatbuffer.

    Raises:
        ConversionError: it refuses.
    """
    with _silence():
        return _run(converter, configure, *graph)


def _run(converter, configure, *graph):
    configure(converter)
    try:
        return converter.convert(*graph)
    except Exception as error:
        raise _explained(str(error)) from error


# What it says of an operation that TFLite does not have, and where that is: its type, its node.
_UNKNOWN = re.compile(r"error: loc\((.*?)\): 'tf\.(\w+)' op is neither a custom op nor a flex op")
_NODE = re.compile(r'fused\["\w+:", "([^"@]+)')
_NO_KERNEL = re.compile(r"not yet supported for op: '(\w+)'")


def _explained(text):
    """Return the error that says what the converter does."""
    lines = [f"  {_layer(location)}: {operation}" for location, operation in _UNKNOWN.findall(text)]
    if lines:
        listed = "\n".join(dict.fromkeys(lines))
        return ConversionError(
            f"TFLite has no such operations as the model makes in these layers:\n{listed}\n"
            "Compute that with others, or outside of the model."
        )
    if operations := sorted(set(_NO_KERNEL.findall(text))):
        return MissingKernelError(
            f"TFLite has no kernels with 16-bit activations for {', '.join(operations)}. "
            "Leave these out of the model, or choose 8-bit activations."
        )
    return ConversionError(f"The TFLite converter refused the model: {text}")


def _layer(location):
    node = _NODE.search(location)
    name = node[1] if node else location
    return layer_scope(name) or name


# Output, warnings and loggers belong to the process: threads that convert take turns, or the last
# to end would put back what another had silenced.
_TURN = threading.RLock()


@contextlib.contextmanager
def _silence():
    """Keep TensorFlow's own remarks about saving and converting off the user's terminal."""
    # TensorFlow sets the levels itself on the way; a filter stays.
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    with _TURN:
        for logger in loggers:
            logger.addFilter(_is_error)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the converter's calibrator warns of its own age
                yield
        finally:
            for logger in loggers:
                logger.removeFilter(_is_error)


def _is_error(record):
    return record.levelno >= logging.ERROR

"""From a Keras model to a TFLite flatbuffer, through the TensorFlow Lite converter."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from tfcompress.graph.interception import float32_computation
from tfcompress.graph.wrapper import ModelWrapper, unwrap


class ConversionError(RuntimeError):
    """The converter could not make a file of the model."""


def input_specs(model: keras.Model, batch_size: int | None = 1) -> list[tf.TensorSpec]:
    """Describe what a model's inference function takes.

    Args:
        model: a built Keras model.
        batch_size: the fixed batch size, or ``None`` for one that is free at run time.

    Returns:
        One spec per input, in the order of ``model.inputs``, named after them.

    Raises:
        ValueError: the model has no declared inputs, or a dimension besides the batch is unknown.
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
        specs.append(tf.TensorSpec((batch_size, *shape[1:]), tensor.dtype, tensor.name))
    return specs


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
        A concrete function from the inputs to the flat list of outputs.
    """
    # A wrapper's own name scope would stand before the names of the user's layers.
    run = model.call if isinstance(model, ModelWrapper) else model

    def infer(*tensors):
        return run(arrange_inputs(model, tensors), training=False)

    with float32_computation(model):
        traced = tf.function(infer, autograph=False).get_concrete_function(*specs)
    return convert_variables_to_constants_v2(traced)


def convert(
    function,
    specs: list[tf.TensorSpec],
    output_names: list[str],
    configure: Callable[[tf.lite.TFLiteConverter], None] = lambda converter: None,
) -> bytes:
    """Convert a frozen function to a flatbuffer with one signature, "serving_default".

    Args:
        function: see ``freeze``.
        specs: the specs that it was frozen with; their names become those of the inputs.
        output_names: the names of the outputs in the signature, in order.
        configure: sets options of the converter before it runs.

    Returns:
        The flatbuffer.

    Raises:
        ConversionError: the converter refuses the function.
    """
    module = tf.Module()
    module.infer = tf.function(
        lambda *tensors: dict(zip(output_names, function(*tensors), strict=True)),
        input_signature=specs,
        autograph=False,
    )
    with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder, _silence():
        tf.saved_model.save(
            module,
            folder,
            signatures=module.infer.get_concrete_function(),
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        return _run(converter, configure)


def convert_plainly(
    function, configure: Callable[[tf.lite.TFLiteConverter], None] = lambda converter: None
) -> bytes:
    """Convert a frozen function without signatures, for a quick look at what becomes of it."""
    with _silence():
        return _run(tf.lite.TFLiteConverter.from_concrete_functions([function]), configure)


def _run(converter, configure):
    configure(converter)
    try:
        return converter.convert()
    except Exception as error:
        raise ConversionError(f"The TFLite converter refused the model: {error}") from error


@contextlib.contextmanager
def _silence():
    """Keep TensorFlow's own remarks about saving and converting off the user's terminal."""
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's calibrator warns of its own age
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

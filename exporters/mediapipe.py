"""Files that MediaPipe Tasks take: uint8 or normalized float32 pixels in, uint8 or float32 out.

See https://ai.google.dev/edge/mediapipe/solutions/vision/image_classifier; what the tasks ask of a
file is in mediapipe/tasks/cc/components/processors/image_preprocessing_graph.cc.
"""

import keras
import numpy as np

from exporters.converting import ConvertedModel, convert_model
from exporters.running.tensor_details import TensorDetails, input_output_details

INTERFACES = ("mediapipe",)
_PIXELS = np.array([0.0, 255.0])


def require_image_interface(interface: str, model: keras.Model, normalization, batch_size) -> None:
    """Check before any work that a model can have an interface."""
    if interface not in INTERFACES:
        raise ValueError(f"interface: one of {list(INTERFACES)}, or None. Received: {interface!r}")
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3 or None in shapes[0][1:]:
        raise ValueError(
            "MediaPipe's tasks feed one colour image of a fixed size: the model needs one input of "
            f"shape (batch, height, width, 3). Received: inputs of shapes {shapes}"
        )
    if batch_size != 1:
        raise ValueError(
            f"MediaPipe's tasks feed one image at a time: batch_size=1. Received: {batch_size}"
        )
    if not isinstance(normalization, (tuple, list)) or len(normalization) != 2:
        raise ValueError(
            "MediaPipe's tasks normalize pixels as the file says: pass `normalization=(mean, "
            "deviation)`, (0, 1) where the model takes pixels from 0 to 255 as they are. "
            f"Received: normalization={normalization!r}"
        )


def takes_pixels(details: TensorDetails, normalization) -> bool:
    """Return whether the integers of a uint8 input are the pixels themselves.

    A task feeds the bytes of an image to such an input as they are, so that the numbers that the
    file takes them for, ``scale * (byte - zero point)``, have to be the normalized pixels.
    """
    if details.dtype != np.uint8 or details.scale is None:
        return False
    mean, deviation = (np.ravel(values).astype(float)[:, None] for values in normalization)
    wanted = (_PIXELS - mean) / deviation
    taken = details.scale * (_PIXELS - details.zero_point)
    return bool((np.abs(taken - wanted) <= details.scale * (0.5 + 1e-3)).all())


def convert_for_tasks(
    normalization, model: keras.Model, quantization, **settings
) -> ConvertedModel:
    """Make the file of a model as MediaPipe's tasks take it."""
    settings |= {"input_dtype": "uint8", "output_dtype": "uint8"}
    converted = convert_model(model, quantization, **settings)
    (image,), _ = input_output_details(converted.content)
    if image.dtype != np.uint8 or takes_pixels(image, normalization):
        return converted
    return convert_model(model, quantization, **settings | {"input_dtype": "float32"})

"""Files that MediaPipe Tasks take: uint8 or normalized float32 pixels in, uint8 or float32 out.

See https://ai.google.dev/edge/mediapipe/solutions/vision/image_classifier; what the tasks ask of a
file is in mediapipe/tasks/cc/components/processors/image_preprocessing_graph.cc.
"""

import keras
import numpy as np

from exporters.converting import ConvertedModel, convert_model
from exporters.running.tensor_details import Port, ports

INTERFACES = ("mediapipe",)
_PIXELS = np.array([0.0, 255.0])


def require_image_interface(interface: str, model: keras.Model, normalization, batch_size) -> None:
    """Check before any work that a model can have an interface.

    Args:
        interface: "mediapipe".
        model: the model.
        normalization: (mean, deviation) of the pixels.
        batch_size: the batch size that the file is fixed to.

    Raises:
        ValueError: the interface is unknown, the model does not take one colour image, or it is not
            said what its pixels are normalized with.
    """
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


def takes_pixels(port: Port, normalization) -> bool:
    """Tell whether the integers of a uint8 input are the pixels themselves.

    A task feeds the bytes of an image to such an input as they are, so that the numbers that the
    file takes them for, ``scale * (byte - zero point)``, have to be the normalized pixels.

    Args:
        port: the input.
        normalization: (mean, deviation), each one number or one a channel.

    Returns:
        Whether both agree within half a step, from black to white, in every channel.

    Example:
    >>> port = Port("image", 0, (1, 8, 8, 3), np.dtype("uint8"), 1 / 127.5, 128)
    >>> takes_pixels(port, (127.5, 127.5)), takes_pixels(port, (0.0, 255.0))
    (True, False)
    """
    if port.dtype != np.uint8 or port.scale is None:
        return False
    mean, deviation = (np.ravel(values).astype(float)[:, None] for values in normalization)
    wanted = (_PIXELS - mean) / deviation
    taken = port.scale * (_PIXELS - port.zero_point)
    return bool((np.abs(taken - wanted) <= port.scale * (0.5 + 1e-3)).all())


def convert_for_tasks(model: keras.Model, quantization, normalization, **told) -> ConvertedModel:
    """Make the file of a model as MediaPipe's tasks take it.

    Args:
        model: the model.
        quantization: as in ``convert_model``.
        normalization: (mean, deviation) of the pixels.
        **told: the other arguments of ``convert_model``; types of inputs and outputs are chosen.

    Returns:
        A file with uint8 inputs where its integers are the pixels, otherwise with float32 inputs,
        which the tasks normalize; with uint8 or float32 outputs.

    Raises:
        ValueError: what ``require_image_interface`` says.
    """
    told |= {"input_dtype": "uint8", "output_dtype": "uint8"}
    converted = convert_model(model, quantization, **told)
    (image,), _ = ports(converted.content)
    if image.dtype != np.uint8 or takes_pixels(image, normalization):
        return converted
    return convert_model(model, quantization, **told | {"input_dtype": "float32"})

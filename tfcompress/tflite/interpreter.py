"""Running a flatbuffer that this process has just made, and looking at every tensor in it."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def tensor_values(flatbuffer: bytes, inputs: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Run a trusted flatbuffer once and read all its tensors.

    Args:
        flatbuffer: bytes that this process made; a malformed file may end the process.
        inputs: one array per input, in order, of the input's shape and dtype.

    Returns:
        The value of each tensor of the main subgraph by its index, where it has one.
    """
    interpreter = Interpreter(
        model_content=flatbuffer,
        # A delegate would keep its inner tensors to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    values = {}
    for detail in interpreter.get_tensor_details():
        try:
            values[detail["index"]] = interpreter.get_tensor(detail["index"])
        except ValueError:  # the tensor holds no data: an absent bias, a temporary
            continue
    return values

"""Running a flatbuffer made by this process, with all its tensors readable.

A malformed file may end the process: files from elsewhere belong into a child process.
"""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def open_interpreter(flatbuffer: bytes, threads: int | None = None) -> Interpreter:
    """Return an interpreter that keeps the values of all tensors."""
    interpreter = Interpreter(
        model_content=flatbuffer,
        # A delegate does not expose the tensors between its operations.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=threads,
    )
    interpreter.allocate_tensors()
    return interpreter


def tensor_values(flatbuffer: bytes, inputs: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Run a file once; return the values of the main graph's tensors by index."""
    interpreter = open_interpreter(flatbuffer)
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    values = {}
    for detail in interpreter.get_tensor_details():
        try:
            values[detail["index"]] = interpreter.get_tensor(detail["index"])
        except ValueError:  # the tensor has no data: an absent bias, a temporary
            continue
    return values

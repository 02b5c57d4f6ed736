"""Run .tflite files in LiteRT; as a program, those of a folder, as arm_kernels.py on a board.

    python litert_files.py FOLDER

It needs NumPy and ai-edge-litert alone. The outputs of N.tflite on N.npz go to N.out.npz, for each
kernel set that takes the file.
"""

import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

RESOLVERS = {"xnnpack": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}


def run(content, fed, kernels):
    """Return the outputs of a file in a kernel set."""
    resolver = RESOLVERS[kernels]
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), fed, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def main(folder):
    for path in sorted(pathlib.Path(folder).glob("*.tflite")):
        with np.load(path.with_suffix(".npz")) as inputs:
            fed = [inputs[name] for name in inputs.files]
        outputs = {}
        for kernels in RESOLVERS:
            try:
                found = run(path.read_bytes(), fed, kernels)
            except (RuntimeError, ValueError):
                continue
            outputs |= {f"{kernels}_{place}": value for place, value in enumerate(found)}
        if outputs:
            np.savez(path.with_suffix(".out.npz"), **outputs)


if __name__ == "__main__":
    main(sys.argv[1])

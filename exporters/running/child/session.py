"""One file loaded by one runtime: set tensors, invoke, get tensors, measure."""

import importlib
import sys
import time

import numpy as np

KERNELS = {
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


def interpreter_types(module):
    """Import a runtime.

    Args:
        module: "ai_edge_litert.interpreter", "tflite_runtime.interpreter" or "tensorflow".

    Returns:
        Its Interpreter class and its OpResolverType enumeration.
    """
    imported = importlib.import_module(module)
    if module == "tensorflow":
        return imported.lite.Interpreter, imported.lite.experimental.OpResolverType
    return imported.Interpreter, imported.OpResolverType


class Session:
    """A file ready to run.

    Args:
        module: the runtime's module, see ``interpreter_types``.
        content: the file's bytes.
        kernels: a key of ``KERNELS``.
        threads: threads of the kernels.
        inputs: tensor indices, or names where ``signature`` is given, in the order of ``run``.
        outputs: the same of what ``run`` returns.
        signature: the key of the signature to run instead of the main graph.
        keep_all: keep every tensor's value, so that ``run`` can return inner ones.
    """

    def __init__(
        self, *, module, content, kernels, threads, inputs, outputs, signature=None, keep_all=False
    ):
        interpreter, resolvers = interpreter_types(module)
        self._interpreter = interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=getattr(resolvers, KERNELS[kernels]),
            experimental_preserve_all_tensors=keep_all,
        )
        self._inputs, self._outputs = inputs, outputs
        self._runner = None
        if signature is None:
            self._interpreter.allocate_tensors()
        else:
            self._runner = self._interpreter.get_signature_runner(signature)

    def run(self, inputs, tensors=()):
        """Run the file once for each entry of the leading axis.

        Args:
            inputs: one array for each input, shape (runs, *shape of the tensor).
            tensors: indices of inner tensors to return as well.

        Returns:
            One array for each output, then for each inner tensor, shape (runs, *shape).
        """
        runs = zip(*inputs, strict=True) if inputs else [()]
        rows = [self._run_once(row, tensors) for row in runs]
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def _run_once(self, row, tensors):
        # Every example starts anew: the state of a recurrent operation stays in the file's tensors.
        self._interpreter.reset_all_variables()
        if self._runner is not None:
            named = self._runner(**dict(zip(self._inputs, row, strict=True)))
            return [named[name] for name in self._outputs]
        self.feed(row)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in (*self._outputs, *tensors)]

    def feed(self, row):
        """Set the inputs of the main graph.

        Args:
            row: one array for each input, of its shape.
        """
        for index, value in zip(self._inputs, row, strict=True):
            self._interpreter.set_tensor(index, value)

    def time(self, runs):
        """Time the main graph on the inputs that were set last.

        Args:
            runs: how often.

        Returns:
            Seconds of each run.
        """
        seconds = []
        for _ in range(runs):
            begin = time.perf_counter()
            self._interpreter.invoke()
            seconds.append(time.perf_counter() - begin)
        return seconds


def peak_memory():
    """Return the most memory that this process has had in RAM, in bytes; 0 on Windows.

    Linux counts the memory of the process that started this one into ``ru_maxrss``, so its own
    file is asked first.
    """
    try:
        with open("/proc/self/status") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
    except OSError:
        return resident_maximum()
    return int(lines[0].split()[1]) * 1024


def resident_maximum():
    """Ask the system: macOS counts bytes, others KiB, Windows has no such call."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

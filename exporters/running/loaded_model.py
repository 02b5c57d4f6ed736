"""A file that a runtime has accepted, run on any number of examples."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from exporters.running.child.session import Session
from exporters.running.child_process import Child
from exporters.running.tensor_details import ports
from tfcompress.tflite.model import TFLiteModel

Examples = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]

_MOST_BYTES_AT_ONCE = 64 << 20


class RemoteSession:
    """A session that lives in a child process: the same methods as ``Session``."""

    def __init__(self, child: Child, owned: bool):
        self.child, self._owned = child, owned
        self.peak_memory = 0

    def load(self, content: bytes, settings: dict) -> None:
        """Load a file there; the arguments are those of ``Session``."""
        request = {"do": "load", "settings": settings}
        answer, _ = self.child.request(request, [np.frombuffer(content, np.uint8)])
        self.peak_memory = int(answer["peak_memory"])

    def run(self, inputs, tensors=()) -> list[np.ndarray]:
        """Run it there, see ``Session.run``."""
        return self.child.request({"do": "run", "tensors": list(tensors)}, inputs)[1]

    def feed(self, row) -> None:
        """Set the inputs there, see ``Session.feed``."""
        self.child.request({"do": "feed"}, row)

    def time(self, runs: int) -> list[float]:
        """Time it there, see ``Session.time``."""
        answer, (seconds,) = self.child.request({"do": "time", "runs": runs})
        self.peak_memory = int(answer["peak_memory"])
        return seconds.tolist()

    def close(self) -> None:
        """End the process, if it was started for this session."""
        if self._owned:
            self.child.close()


class LoadedModel:
    """A file that a runtime has accepted. Use it as a context manager, or ``close`` it.

    Attributes:
        runtime: the runtime.
        kernels: the kernel set.
        signature: the signature's key, None for the main graph.
        model: the file's content.
        inputs: its inputs.
        outputs: its outputs.
    """

    def __init__(
        self, runtime, kernels, model: TFLiteModel, signature, backend: Session | RemoteSession
    ):
        self.runtime, self.kernels, self.model = runtime, kernels, model
        self.signature = signature
        self.inputs, self.outputs = ports(model, signature)
        self._backend = backend

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Let go of the interpreter, and of the child process that was started for it."""
        if isinstance(self._backend, RemoteSession):
            self._backend.close()
        self._backend = None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once, on exactly what the file's tensors take.

        Args:
            inputs: an array for each input, of its shape and dtype.

        Returns:
            An array for each output.

        Raises:
            ValueError: a number, shape or dtype of inputs does not fit.
            RunError: the runtime refuses to run it.
        """
        self._require_fit(inputs)
        return [column[0] for column in self._run_rows([value[None] for value in inputs], ())]

    def predict(self, examples: Examples, real: bool = True) -> list[np.ndarray]:
        """Run on any number of examples, whatever batch size the file is fixed to.

        Args:
            examples: an array for the one input; a sequence in the order of ``inputs``; or a dict
                by input name. Each has shape (examples, *shape without batch). Arrays of an
                input's own integer type are taken as quantized already, others as real numbers.
            real: return real numbers; otherwise what the file's tensors hold.

        Returns:
            An array for each output, shape (examples, *shape without batch).

        Raises:
            ValueError: an input is missing, unknown, of the wrong shape, or not finite.
            RunError: the runtime refuses to run it.
        """
        outputs, _ = self.trace(examples, ())
        if not real:
            return outputs
        return [port.to_real(out) for port, out in zip(self.outputs, outputs, strict=True)]

    def trace(self, examples: Examples, tensors: Sequence[int]):
        """Run on any number of examples and return inner values too.

        Args:
            examples: as ``predict`` takes them.
            tensors: indices of tensors of the main graph; load with ``keep_all=True``.

        Returns:
            (outputs, inner values): what the file's tensors hold, shape (examples, ...) each.

        Raises:
            ValueError: as ``predict`` does.
            RunError: the runtime refuses to run it.
        """
        known = len(self.model.subgraphs[0].tensors)
        if any(not 0 <= index < known for index in tensors):  # the runtimes do not check
            raise ValueError(f"The main graph has {known} tensors. Received: {list(tensors)}")
        rows, count = self.rows(examples)
        batch = self._batch()
        columns = self._run_rows(rows, tensors)
        merged = [_merge(column, batch)[:count] for column in columns]
        return merged[: len(self.outputs)], merged[len(self.outputs) :]

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Set the main graph's inputs for ``time``.

        Args:
            inputs: an array for each input, of its shape and dtype.

        Raises:
            ValueError: a number, shape or dtype of inputs does not fit.
        """
        self._require_fit(inputs)
        self._backend.feed(inputs)

    def time(self, runs: int) -> list[float]:
        """Time the main graph on the inputs that were set last.

        Args:
            runs: how often.

        Returns:
            Seconds of each run.
        """
        return self._backend.time(runs)

    @property
    def peak_memory(self) -> tuple[int, int]:
        """Bytes in RAM at most: of the child process, and of its runtime before the file.

        Raises:
            ValueError: the file is loaded in this process, whose memory is not the file's.
        """
        if not isinstance(self._backend, RemoteSession):
            raise ValueError("Peak memory is that of a process: load the file with load_isolated")
        return self._backend.peak_memory, self._backend.child.base_memory

    def _require_fit(self, inputs: Sequence[np.ndarray]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(
                f"The file takes {len(self.inputs)} inputs: {[p.name for p in self.inputs]}. "
                f"Received: {len(inputs)}"
            )
        for port, value in zip(self.inputs, inputs, strict=True):
            if value.shape != port.shape or value.dtype != port.dtype:
                raise ValueError(
                    f"Input {port.name!r} takes shape {port.shape} of {port.dtype}. "
                    f"Received: shape {value.shape} of {value.dtype}"
                )

    def _batch(self) -> int:
        first = self.inputs[0].shape if self.inputs else ()
        return max(1, first[0]) if first else 1

    def rows(self, examples: Examples) -> tuple[list[np.ndarray], int]:
        """Quantize examples and cut them into runs of the file's own batch size.

        Args:
            examples: as ``predict`` takes them.

        Returns:
            (rows, examples): for each input an array of shape (runs, *shape of the input), the last
            run filled up with the last example; and how many examples there are.

        Raises:
            ValueError: as ``predict`` does.
        """
        arrays = [
            port.to_file(np.asarray(values))
            for port, values in zip(self.inputs, self._in_order(examples), strict=True)
        ]
        counts = {len(values) if values.ndim else 0 for values in arrays}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(
                "Every input needs the same number of examples, at least one. "
                f"Received shapes: {[values.shape for values in arrays]}"
            )
        count, batch = len(arrays[0]) if arrays else 1, self._batch()
        rows = []
        for port, values in zip(self.inputs, arrays, strict=True):
            if values.shape[1:] != port.shape[1:]:
                raise ValueError(
                    f"Input {port.name!r} takes examples of shape {port.shape[1:]}. "
                    f"Received: an array of shape {values.shape}"
                )
            short = -count % batch
            padded = np.concatenate([values, np.repeat(values[-1:], short, 0)]) if short else values
            rows.append(padded.reshape(-1, *port.shape))
        return rows, count

    def _in_order(self, examples: Examples) -> Sequence[np.ndarray]:
        names = [port.name for port in self.inputs]
        if isinstance(examples, Mapping):
            if set(examples) != set(names):
                raise ValueError(f"The file's inputs are {names}. Received: {list(examples)}")
            return [examples[name] for name in names]
        arrays = examples if isinstance(examples, list | tuple) else [examples]
        if len(arrays) != len(names):
            raise ValueError(f"The file's inputs are {names}. Received: {len(arrays)} arrays")
        return arrays

    def _run_rows(self, rows: list[np.ndarray], tensors) -> list[np.ndarray]:
        at_once = max(1, _MOST_BYTES_AT_ONCE // max(1, sum(row[0].nbytes for row in rows)))
        count = len(rows[0]) if rows else 1
        pieces = [
            self._backend.run([row[start : start + at_once] for row in rows], tensors)
            for start in range(0, count, at_once)
        ]
        return [np.concatenate(column) for column in zip(*pieces, strict=True)]


def _merge(column: np.ndarray, batch: int) -> np.ndarray:
    """Join the runs of one tensor: (runs, batch, ...) to (runs * batch, ...)."""
    if column.ndim > 1 and column.shape[1] == batch:
        return column.reshape(math.prod(column.shape[:2]), *column.shape[2:])
    return column

"""A .tflite file loaded by a runtime, run on any number of examples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from exporters.running.child import MicroSession, Session
from exporters.running.child_process import Child
from exporters.running.tensor_details import input_output_details
from tfcompress.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from exporters.running.runtime import Runtime

Examples = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]

_MAX_BYTES_AT_ONCE = 64 << 20


class RemoteSession:
    """A ``Session`` in a child process."""

    def __init__(self, child: Child, owned: bool):
        self.child, self._owned = child, owned
        self.peak_memory = 0
        self.arena: int | None = None

    def load(self, content: bytes, settings: dict) -> None:
        """Load a file, see ``open_session``."""
        request = {"do": "load", "settings": settings}
        answer, _ = self.child.request(request, [np.frombuffer(content, np.uint8)])
        self.peak_memory = int(answer["peak_memory"])
        self.arena = answer.get("arena")

    def run(self, inputs, tensors=()) -> list[np.ndarray]:
        """See ``Session.run``."""
        return self.child.request({"do": "run", "tensors": list(tensors)}, inputs)[1]

    def feed(self, row) -> None:
        """See ``Session.feed``."""
        self.child.request({"do": "feed"}, row)

    def time(self, runs: int) -> list[float]:
        """See ``Session.time``."""
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
        self,
        runtime: "Runtime",
        kernels: str,
        model: TFLiteModel,
        signature: str | None,
        backend: Session | MicroSession | RemoteSession,
    ):
        self.runtime, self.kernels, self.model = runtime, kernels, model
        self.signature = signature
        self.inputs, self.outputs = input_output_details(model, signature)
        self._backend = backend

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Release the interpreter, and end the child process that was started for it."""
        if isinstance(self._backend, RemoteSession):
            self._backend.close()
        self._backend = None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once, on arrays of exactly the inputs' shapes and dtypes.

        Args:
            inputs: one array per input.

        Returns:
            One array per output.

        Raises:
            ValueError: the number, a shape or a dtype of the inputs is wrong.
            RunError: the runtime cannot run the file.
        """
        self._require_fit(inputs)
        return [column[0] for column in self._run_rows([value[None] for value in inputs], ())]

    def predict(self, examples: Examples, real: bool = True) -> list[np.ndarray]:
        """Run on any number of examples, whatever batch size the file is fixed to.

        Args:
            examples: an array for a single input; a sequence in the order of ``inputs``; or a dict
                by input name. Each has shape (examples, *shape without batch). Arrays of an
                input's own integer type count as quantized, others as real numbers.
            real: return real numbers; otherwise the stored integers of quantized outputs.

        Returns:
            One array per output, of shape (examples, *shape without batch).

        Raises:
            ValueError: an input is missing, unknown, of the wrong shape, or not finite.
            RunError: the runtime cannot run the file.
        """
        outputs, _ = self.trace(examples, ())
        if not real:
            return outputs
        return [details.to_real(out) for details, out in zip(self.outputs, outputs, strict=True)]

    def trace(self, examples: Examples, tensors: Sequence[int]) -> list[np.ndarray]:
        """Run on any number of examples; return intermediate tensors as well.

        Args:
            examples: as ``predict`` takes them.
            tensors: indices of tensors of the main graph; load with ``keep_all=True``.

        Returns:
            (outputs, intermediate tensors): stored values, each of shape (examples, ...).

        Raises:
            ValueError: as ``predict`` does.
            RunError: the runtime cannot run the file.
        """
        known = len(self.model.subgraphs[0].tensors)
        if any(not 0 <= index < known for index in tensors):  # the runtimes do not check
            raise ValueError(f"The main graph has {known} tensors. Received: {list(tensors)}")
        rows, count = self.rows(examples)
        batch = self._batch()
        merged = []
        for column in self._run_rows(rows, tensors):
            joins = column.shape[1:2] == (batch,)  # (runs, batch, ...) to (runs * batch, ...)
            examples = column.reshape(len(column) * batch, *column.shape[2:]) if joins else column
            merged.append(examples[:count])
        return merged[: len(self.outputs)], merged[len(self.outputs) :]

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Set the main graph's inputs for ``time``: arrays as ``run`` takes them.

        Raises:
            ValueError: the number, a shape or a dtype of the inputs is wrong.
        """
        self._require_fit(inputs)
        self._backend.feed(inputs)

    def time(self, runs: int) -> list[float]:
        """Return the seconds of each run of the main graph on the inputs of ``feed``."""
        return self._backend.time(runs)

    @property
    def arena(self) -> int | None:
        """The smallest arena that TFLite Micro takes here, in bytes; None in other runtimes."""
        return getattr(self._backend, "arena", None)

    @property
    def peak_memory(self) -> tuple[int, int]:
        """Peak bytes in RAM: of the child process, and of its runtime before loading the file.

        Raises:
            ValueError: the file is loaded in this process.
        """
        if not isinstance(self._backend, RemoteSession):
            raise ValueError(
                "Peak memory is measured for a child process: load the file with load_isolated. "
                "Received: a file loaded in this process"
            )
        return self._backend.peak_memory, self._backend.child.base_memory

    def _require_fit(self, inputs: Sequence[np.ndarray]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(
                f"The file has {len(self.inputs)} inputs: {[i.name for i in self.inputs]}. "
                f"Received: {len(inputs)}"
            )
        for details, value in zip(self.inputs, inputs, strict=True):
            if value.shape != details.shape or value.dtype != details.dtype:
                raise ValueError(
                    f"Input {details.name!r} takes shape {details.shape} of {details.dtype}. "
                    f"Received: shape {value.shape} of {value.dtype}"
                )

    def _batch(self) -> int:
        first = self.inputs[0].shape if self.inputs else ()
        return max(1, first[0]) if first else 1

    def rows(self, examples: Examples) -> tuple[list[np.ndarray], int]:
        """Quantize examples and split them into runs of the file's batch size.

        Returns:
            (rows, count): an array of shape (runs, *shape) per input, the last run padded with the
            last example; and the number of examples.
        """
        arrays = [
            details.to_file(np.asarray(values))
            for details, values in zip(self.inputs, self._in_order(examples), strict=True)
        ]
        counts = {len(values) if values.ndim else 0 for values in arrays}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(
                "Every input needs the same number of examples, at least one. "
                f"Received shapes: {[values.shape for values in arrays]}"
            )
        count, batch = len(arrays[0]) if arrays else 1, self._batch()
        rows = []
        for details, values in zip(self.inputs, arrays, strict=True):
            if values.shape[1:] != details.shape[1:]:
                raise ValueError(
                    f"Input {details.name!r} takes examples of shape {details.shape[1:]}. "
                    f"Received: an array of shape {values.shape}"
                )
            short = -count % batch
            padded = np.concatenate([values, np.repeat(values[-1:], short, 0)]) if short else values
            rows.append(padded.reshape(-1, *details.shape))
        return rows, count

    def _in_order(self, examples: Examples) -> Sequence[np.ndarray]:
        names = [details.name for details in self.inputs]
        if isinstance(examples, Mapping):
            if set(examples) != set(names):
                raise ValueError(f"The file's inputs are {names}. Received: {list(examples)}")
            return [examples[name] for name in names]
        arrays = examples if isinstance(examples, list | tuple) else [examples]
        if len(arrays) != len(names):
            raise ValueError(f"The file's inputs are {names}. Received: {len(arrays)} arrays")
        return arrays

    def _run_rows(self, rows: list[np.ndarray], tensors) -> list[np.ndarray]:
        at_once = max(1, _MAX_BYTES_AT_ONCE // max(1, sum(row[0].nbytes for row in rows)))
        count = len(rows[0]) if rows else 1
        pieces = [
            self._backend.run([row[start : start + at_once] for row in rows], tensors)
            for start in range(0, count, at_once)
        ]
        return [np.concatenate(column) for column in zip(*pieces, strict=True)]

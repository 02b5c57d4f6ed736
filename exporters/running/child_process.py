"""Starting and talking to the child process that runs files, within limits of time and memory."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import numpy as np

from exporters.running import child

_LOG_BYTES = 800
_EXIT_GRACE = 2.0


class RunError(RuntimeError):
    """A runtime rejected a file, or the process that ran it ended."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a child process may use.

    Attributes:
        seconds: wall time for one request (loading; or one run, or one chunk of runs).
        memory: bytes of address space beyond what importing the runtime takes; 0 for no limit.
            Enforced on Linux only.

    Raises:
        ValueError: ``seconds`` is not positive, or ``memory`` is negative.
    """

    seconds: float = 60.0
    memory: int = 2 << 30

    def __post_init__(self):
        if self.seconds <= 0 or self.memory < 0:
            raise ValueError(
                "`seconds` must be above 0, and `memory` 0 (no limit) or more bytes. "
                f"Received: {self}"
            )


class Child:
    """A child process that runs one runtime. Use it as a context manager, or ``close`` it."""

    def __init__(self, python: str, module: str, limits: Limits):
        self._limits = limits
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        memory = limits.memory if os.path.exists("/proc/self/statm") else 0
        self._process = subprocess.Popen(
            [python, child.__file__, module, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONNOUSERSITE": "1"},
        )
        # Importing TensorFlow takes its time, whatever the file's own limit is.
        with self._ended_after(max(limits.seconds, 120.0), "start"):
            answer, _ = self._receive_message("start")
        self.base_memory = answer["peak_memory"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End the process. Closing twice is fine."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                stream.close()

    @property
    def alive(self) -> bool:
        """Whether the process can still answer."""
        return self._process.poll() is None

    def request(self, body: dict, arrays=()) -> tuple[dict, list[np.ndarray]]:
        """Send a request and return (body, arrays) of the answer."""
        with self._ended_after(self._limits.seconds, body["do"]):
            for piece in child.pack(body, arrays):
                self._send(piece, body["do"])
            answer, arrays = self._receive_message(body["do"])
        if "error" in answer:
            raise RunError(self._rejection(body["do"], answer))
        return answer, arrays

    def _rejection(self, what: str, answer: dict) -> str:
        if answer.get("type") == "MemoryError":
            return f"the file needs more than its {self._limits.memory >> 20} MiB to {what}"
        reason = answer["error"] or (
            f"it gave no reason; the file may need more than its {self._limits.memory >> 20} MiB"
        )
        return f"the runtime could not {what} the file: {reason}"

    @contextlib.contextmanager
    def _ended_after(self, seconds: float, what: str) -> Iterator[None]:
        """End the process if a block takes too long: its pipes close then, and wake us."""
        late = threading.Event()

        def end():
            late.set()
            self._process.kill()

        watch = threading.Timer(seconds, end)
        watch.daemon = True
        watch.start()
        try:
            yield
        except RunError:
            if not late.is_set():
                raise
        finally:
            watch.cancel()
        watch.join()
        if late.is_set():
            self.close()
            raise RunError(
                f"the file took longer than {self._limits.seconds:g} s to {what}; "
                "the child process was ended"
            )

    def _receive_message(self, what: str):
        try:
            body, arrays = child.unpack(lambda size: self._receive(size, what))
            if not isinstance(body, dict):
                raise TypeError(f"expected a dict, received {type(body).__name__}")
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            self.close()
            raise RunError(
                f"the child process sent an invalid answer to the request {what!r} ({error})"
            ) from error
        return body, arrays

    def _receive(self, size: int, what: str) -> bytes:
        data = bytearray()
        pipe = self._process.stdout.fileno()
        while len(data) < size:
            piece = os.read(pipe, min(size - len(data), 1 << 20))
            if not piece:
                raise RunError(self._exit_reason(what))
            data += piece
        return bytes(data)

    def _send(self, data: bytes | memoryview, what: str) -> None:
        pipe, rest = self._process.stdin.fileno(), memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[os.write(pipe, rest[: 1 << 20]) :]
            except OSError:  # the pipe is closed; Windows has several errors for that
                raise RunError(self._exit_reason(what)) from None

    def _exit_reason(self, what: str) -> str:
        """Return how the process ended, with the end of its standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_GRACE)
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_BYTES))
        log = self._log.read().decode(errors="replace").strip()
        self.close()
        code = self._process.returncode
        if log.endswith("MemoryError"):
            return self._rejection(what, {"type": "MemoryError"})
        end = f"ended with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        limit = f" (its limit: {self._limits.memory >> 20} MiB)" if self._limits.memory else ""
        return f"the child process {end} on {what}{limit}: {log or 'it printed nothing'}"

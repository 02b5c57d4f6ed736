"""Arm's compiler for Ethos-U NPUs.

Vela decides which operations an NPU takes, and knows how many cycles they need and how small their
weights become in its encoding, where zeros and repeated values pay. Its answer replaces a table.
See https://pypi.org/project/ethos-u-vela/.
"""

import csv
import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tfcompress.extras import missing_extra
from tfcompress.targets.target import Compiler, Target
from tfcompress.tflite.flatbuffer import read_content, read_model

_SECONDS = 300.0
_ON_NPU = "ethos-u"  # the custom operation that stands for what was compiled
_REFUSAL = re.compile(
    r"^Warning \(supported operators\) operator: (?P<operation>\S+), ofm: '(?P<tensor>.*)'\n"
    r"Reason: (?P<reason>(?:.+\n?)+)",
    re.MULTILINE,
)


class CompilerError(RuntimeError):
    """The compiler did not compile a file."""


@dataclasses.dataclass(frozen=True)
class Compilation:
    """What the compiler makes of a file."""

    accelerator: str  # what it was compiled for, such as "ethos-u55-128"
    operations: int  # operations of the file
    # What stays on the CPU, as {name of the operation's first output: reason}.
    left_on_cpu: dict[str, str]
    cycles: int  # cycles of the NPU for one inference, as the compiler estimates them
    seconds: float  # time for one inference at the clock of the compiler's system configuration
    sram: int  # bytes of on-chip memory for tensors
    dram: int  # bytes of external memory for tensors
    flash: int  # bytes of the encoded weights and commands
    sram_traffic: int  # bytes that an inference reads from on-chip memory and writes to it
    dram_traffic: int  # the same of external memory
    flash_traffic: int  # the same of flash
    dense_weights: int  # bytes of the weights before the encoding
    encoded_weights: int  # bytes of the weights in the encoding
    # The compiled .tflite file, which the device's runtime loads.
    content: bytes = dataclasses.field(repr=False)

    def to_text(self) -> str:
        """Return one line for the terminal."""
        on_npu = self.operations - len(self.left_on_cpu)
        memory = f"{self.sram:,} bytes of SRAM ({self.sram_traffic:,} moved)"
        if self.dram:
            memory += f", {self.dram:,} bytes of DRAM ({self.dram_traffic:,} moved)"
        return (
            f"Vela for {self.accelerator}: {on_npu} of {self.operations} operations on the NPU, "
            f"{self.cycles:,} cycles ({1000 * self.seconds:.3g} ms), {memory}, "
            f"{self.flash:,} bytes of flash (weights {self.dense_weights:,}, encoded "
            f"{self.encoded_weights:,}; {self.flash_traffic:,} moved)"
        )


def has_compiler(target: Target) -> bool:
    """Return whether the compiler that a target needs, if any, is installed."""
    return target.compiler is None or importlib.util.find_spec("ethosu") is not None


def require_compiler(target: Target) -> None:
    """Check that the compiler that a target needs is installed."""
    if not has_compiler(target):
        raise ImportError(missing_extra(f"The target {target.name!r}", "ethos-u"))


def compile_for_npu(source: bytes | str | os.PathLike, target: Target) -> Compilation:
    """Compile a file for an Ethos-U NPU.

    The compiler runs in a process of its own with a limit on its time.

    Args:
        source: the file's bytes, or its path.
        target: a device with an NPU, such as ``load_target("ethos-u55-128")``.

    Returns:
        The compiled file, and what the compiler says of it.

    Raises:
        CompilerError: the compiler rejects the file, or does not finish in time.
        FlatbufferError: the file is damaged.
        ImportError: the compiler is not installed.
        OSError: the path cannot be read.
        ValueError: the target has no compiler.

    Example:
    ```python
    import pathlib

    from tfcompress.targets import load_target
    from tfcompress.targets.vela import compile_for_npu

    compiled = compile_for_npu("model_int8.tflite", load_target("ethos-u55-128"))
    pathlib.Path("model_vela.tflite").write_bytes(compiled.content)
    ```
    """
    if target.compiler is None:
        raise ValueError(
            "`target` is a device with an NPU, such as 'ethos-u55-128'. Received: "
            f"target={target.name!r}"
        )
    require_compiler(target)
    content, _ = read_content(source)
    operations = sum(len(subgraph.operations) for subgraph in read_model(content).subgraphs)
    with tempfile.TemporaryDirectory(prefix="vela-") as folder:
        given = pathlib.Path(folder, "model.tflite")
        given.write_bytes(content)
        output = _run(given, target.compiler)
        written = pathlib.Path(folder, "model_vela.tflite")
        tables = list(pathlib.Path(folder).glob("model_summary_*.csv"))
        if not written.exists() or len(tables) != 1:
            raise CompilerError(f"Vela wrote no file: {_last_line(output)}")
        compiled = written.read_bytes()
        with tables[0].open(newline="") as table:
            figures = next(csv.DictReader(table))
    reasons = refusals_of(output)
    left = [  # the first output of each operation that was not compiled for the NPU
        subgraph.tensors[operation.outputs[0]].name
        for subgraph in read_model(compiled).subgraphs
        for operation in subgraph.operations
        if operation.name != _ON_NPU and operation.outputs
    ]
    return Compilation(
        accelerator=target.compiler.accelerator,
        operations=operations,
        left_on_cpu={name: reasons.get(name, "Vela gives no reason") for name in left},
        cycles=round(float(figures["cycles_total"])),
        seconds=float(figures["inference_time"]),
        sram=_bytes(figures, "sram"),
        dram=_bytes(figures, "dram"),
        flash=_bytes(figures, "on_chip_flash") + _bytes(figures, "off_chip_flash"),
        sram_traffic=int(figures["sram_total_bytes"]),
        dram_traffic=int(figures["dram_total_bytes"]),
        flash_traffic=sum(
            int(figures[f"{place}_flash_total_bytes"]) for place in ("on_chip", "off_chip")
        ),
        dense_weights=round(float(figures["total_original_weights"])),
        encoded_weights=round(float(figures["total_npu_encoded_weights"])),
        content=compiled,
    )


def refusals_of(output: str) -> dict[str, str]:
    """Read from the compiler's output why operations stay on the CPU."""
    return {
        found["tensor"]: "; ".join(line.strip() for line in found["reason"].strip().splitlines())
        for found in _REFUSAL.finditer(output)
    }


def _run(given: pathlib.Path, compiler: Compiler) -> str:
    """Run the compiler and return what it printed."""
    command = [
        *(sys.executable, "-P", "-m", "ethosu.vela", "--config", "Arm/vela.ini"),
        *("--accelerator-config", compiler.accelerator),
        *("--system-config", compiler.system_config, "--memory-mode", compiler.memory_mode),
        *("--output-dir", os.fspath(given.parent), "--show-cpu-operations", os.fspath(given)),
    ]
    try:
        run = subprocess.run(
            command,
            cwd=given.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompilerError(f"Vela did not end within {_SECONDS:.0f} s.") from error
    if run.returncode:
        raise CompilerError(f"Vela does not take the file: {_last_line(run.stdout)}")
    return run.stdout


def _last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _bytes(figures: dict[str, str], memory: str) -> int:
    """Return the use of a memory in bytes; the compiler's table has KiB."""
    return round(float(figures[f"{memory}_memory_used"]) * 1024)

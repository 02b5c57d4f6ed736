"""Files compiled ahead of time for the NPU of an Android phone, by LiteRT's compilers.

What is known of a chip is whether LiteRT's compiler has it. How a file runs there is unknown: no
phone was measured.

Source: LiteRT 2.3.0's package ``ai_edge_litert.aot``, read 2026-11-30, and
https://developers.google.com/edge/litert/next/npu.
"""

import importlib
import os
import pathlib
import shlex
import subprocess
import sys

VENDORS = {"qualcomm": "Qualcomm", "mediatek": "MediaTek", "google_tensor": "Google Tensor"}
_SECONDS = 600.0
_PROGRAM = """\
from ai_edge_litert.aot import aot_compile
from ai_edge_litert.aot.vendors.{vendor} import target

chip = target.Target(target.SocModel({soc!r}))
done = aot_compile.aot_compile({file!r}, {folder!r}, chip, keep_going=False)
print(done.compilation_report())
"""


def list_socs() -> dict[str, tuple[str, ...]]:
    """List the chips that the installed LiteRT compiles for, by vendor."""
    found = {}
    for vendor in VENDORS:
        target = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.target")
        found[vendor] = tuple(soc.value for soc in target.SocModel if soc.value != "ALL")
    return found


def npu_program(file: str | os.PathLike, soc: str, folder: str | os.PathLike) -> str:
    """Return the Python program that compiles a file for a chip's NPU.

    Args:
        file: a .tflite file of static shapes, with int8 or int16x8 numbers.
        soc: one of ``list_socs()``, such as "SM8750".
        folder: where the compiled file goes.

    Raises:
        ValueError: LiteRT has no compiler for the chip.
    """
    return _PROGRAM.format(
        vendor=_vendor_of(soc), soc=soc, file=os.fspath(file), folder=os.fspath(folder)
    )


def compile_for_soc(
    file: str | os.PathLike, soc: str, folder: str | os.PathLike
) -> tuple[pathlib.Path, ...]:
    """Compile a file for a chip's NPU, in a process of its own.

    Args:
        file: a .tflite file of static shapes, with int8 or int16x8 numbers.
        soc: one of ``list_socs()``, such as "SM8750".
        folder: where the compiled file goes.

    Returns:
        The paths of the files that the compiler wrote.

    Raises:
        ImportError: the vendor's SDK, or its libraries, are missing; the message has the commands.
        RuntimeError: the compiler rejects the file.
        ValueError: LiteRT has no compiler for the chip.

    Example:
    ```python
    compile_for_soc("model_int8.tflite", "SM8750", "npu")
    ```
    """
    program = npu_program(file, soc, folder)
    vendor = _vendor_of(soc)
    if not _has_libraries(vendor):
        package = f"ai-edge-litert-sdk-{vendor.replace('_', '-')}"
        raise ImportError(
            f"The SDK of {VENDORS[vendor]} is not installed with its libraries: run `pip install "
            f"{package}` on x86-64 Linux, whose set-up downloads them, then "
            f"`python -c {shlex.quote(program)}`"
        )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise RuntimeError(f"The compiler of {VENDORS[vendor]} does not take {file}: {lines[-1]}")
    return tuple(sorted(pathlib.Path(folder).rglob("*.tflite")))


def _vendor_of(soc: str) -> str:
    """Return whose chip it is."""
    known = list_socs()
    for vendor, socs in known.items():
        if soc in socs:
            return vendor
    raise ValueError(f"LiteRT has compilers for {known}. Received: soc={soc!r}")


def _has_libraries(vendor: str) -> bool:
    """Return whether the vendor's SDK is there: its package alone may lack what it downloads."""
    if vendor == "google_tensor" and os.environ.get("GOOGLE_TENSOR_COMPILER_LIB"):
        return True
    try:
        sdk = importlib.import_module(f"ai_edge_litert_sdk_{vendor}")
    except ImportError:
        return False
    return any((pathlib.Path(sdk.__file__).parent / "data").glob("**/*.so"))

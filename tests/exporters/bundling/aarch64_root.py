"""A 64-bit Raspberry Pi without the board: Debian for aarch64 in a folder, run through QEMU.

The folder is made once, outside the project, and holds Debian's packages (unpacked, not
configured: nothing of them runs before the program in question) and the runtimes' aarch64 wheels.
The tools come from Debian too and are unpacked beside it, so that nothing is installed.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

SUITE = "bookworm"
PYTHON = "3.11"  # of bookworm
MIRROR = "http://deb.debian.org/debian"
WHEELS = {
    "ai_edge_litert": ("ai-edge-litert==2.3.0", "numpy"),
    "tflite_runtime": ("tflite-runtime==2.14.0", "numpy<2"),
}
# What bookworm's C library, 2.36, runs.
_PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1))
# The processor of a Raspberry Pi 4. Without its description in the folder a runtime would read that
# of this computer, and LiteRT crashes on it.
_PROCESSOR = "cortex-a72"
_DESCRIPTION = {
    "proc/cpuinfo": (
        "processor\t: 0\n"
        "Features\t: fp asimd evtstrm crc32 cpuid\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x0\n"
        "CPU part\t: 0xd08\n"
        "CPU revision\t: 3\n\n"
    ),
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}
_EMULATOR = "qemu-aarch64-static"
_TOOLS = ("debootstrap", "qemu-user-static")
_PACKAGES = ("python3", "libstdc++6", "libgomp1", "zlib1g")


class UnavailableError(RuntimeError):
    """This computer cannot make or run the folder."""


@dataclasses.dataclass(frozen=True)
class Root:
    """The finished folder.

    Attributes:
        folder: where it is.
        qemu: the emulator.
    """

    folder: pathlib.Path
    qemu: pathlib.Path

    def run(self, arguments: list[str], runtime: str) -> subprocess.CompletedProcess:
        """Run a Python program of this computer in the emulated one.

        Args:
            arguments: the program's path and its arguments.
            runtime: a key of ``WHEELS``; the only runtime that the program can import.
        """
        settings = {
            "PYTHONPATH": self.folder / "opt" / runtime,
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        emulated = [str(self.qemu), "-cpu", _PROCESSOR, "-L", str(self.folder)]
        for name, value in settings.items():
            emulated += ["-E", f"{name}={value}"]
        python = str(self.folder / "usr" / "bin" / f"python{PYTHON}")
        return subprocess.run(
            [*emulated, python, *arguments], capture_output=True, text=True, check=False
        )


def build(cache: pathlib.Path) -> Root:
    """Make the folder, or find it made.

    Args:
        cache: the folder to keep it in.

    Returns:
        The root.

    Raises:
        UnavailableError: this computer cannot, and why.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise UnavailableError("the emulation runs on x86-64 Linux")
    folder, tools = cache / "aarch64-root", cache / "aarch64-tools"
    if not _made(folder):
        if os.geteuid() != 0:
            raise UnavailableError(f"making a Debian root in {folder} needs root")
        _unpack_tools(tools)
        _bootstrap(folder, tools)
        _describe_processor(folder)
        _mark_made(folder)
    for runtime, packages in WHEELS.items():
        place = folder / "opt" / runtime
        if not _made(place):
            _install(place, packages)
            _mark_made(place)
    return Root(folder, tools / "usr" / "bin" / _EMULATOR)


def _made(folder: pathlib.Path) -> bool:
    return (folder / ".made").exists()


def _mark_made(folder: pathlib.Path) -> None:
    (folder / ".made").touch()


def _unpack_tools(tools: pathlib.Path) -> None:
    """Unpack Debian's debootstrap and QEMU without installing them."""
    missing = [name for name in ("apt-get", "dpkg-deb", "tar") if shutil.which(name) is None]
    if missing:
        raise UnavailableError(f"needs {', '.join(missing)}: a Debian or Ubuntu")
    shutil.rmtree(tools, ignore_errors=True)
    packages = tools / "packages"
    packages.mkdir(parents=True)
    # With lists of its own: a container often has none, and the computer's are left alone. As root:
    # the user that apt otherwise fetches as may not write here.
    settings = (
        f"Dir::State::lists={packages}",
        f"Dir::Cache={packages}",
        "APT::Sandbox::User=root",
    )
    apt = ["apt-get", "-qq", *(part for setting in settings for part in ("-o", setting))]
    _call(*apt, "update")
    _call(*apt, "download", *_TOOLS, folder=packages)
    for package in packages.glob("*.deb"):
        _call("dpkg-deb", "-x", str(package), str(tools))
    shutil.rmtree(packages)
    for emulator in (tools / "usr" / "bin").glob("qemu-*"):  # one for each kind of processor
        if emulator.name != _EMULATOR:
            emulator.unlink()


def _bootstrap(folder: pathlib.Path, tools: pathlib.Path) -> None:
    """Fetch the packages of a small Debian and unpack every one of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _call(
        "sh",
        str(tools / "usr" / "sbin" / "debootstrap"),
        "--arch=arm64",
        "--foreign",
        "--variant=minbase",
        f"--include={','.join(_PACKAGES)}",
        SUITE,
        str(folder),
        MIRROR,
        environment={"DEBOOTSTRAP_DIR": str(tools / "usr" / "share" / "debootstrap")},
    )
    for package in sorted((folder / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True
        ).stdout
        # Directories of Debian are links (/lib to /usr/lib): what a package brings goes behind.
        command = ["tar", "-x", "--keep-directory-symlink", "-C", str(folder)]
        subprocess.run(command, input=archive, check=True)


def _describe_processor(folder: pathlib.Path) -> None:
    """Put a processor's description where runtimes read this computer's otherwise."""
    proc = folder / "proc"
    if proc.is_symlink():  # to this computer's own
        proc.unlink()
    for name, text in _DESCRIPTION.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _install(folder: pathlib.Path, packages: tuple[str, ...]) -> None:
    """Unpack wheels for aarch64 with this computer's pip."""
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
    _call(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(folder),
        *platforms,
        "--implementation",
        "cp",
        "--python-version",
        PYTHON,
        "--only-binary=:all:",
        *packages,
    )


def _call(*command: str, folder=None, environment=None) -> None:
    answer = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        words = (answer.stderr or answer.stdout).strip()[-400:]
        raise UnavailableError(f"{os.path.basename(command[0])} failed: {words}")

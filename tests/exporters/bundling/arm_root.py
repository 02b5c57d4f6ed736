"""Raspberry Pis without the board: Debian for ARM in a folder, run through QEMU.

The folder is made once, outside the project, and holds Debian's packages (unpacked, not
configured: nothing of them runs before the program in question) and the runtimes' wheels for ARM.
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
_CPU_INFO = """processor\t: 0
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: {architecture}
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3

"""


@dataclasses.dataclass(frozen=True)
class Board:
    """A kind of board.

    Attributes:
        debian: the name of its architecture in Debian.
        wheels: that in the names of wheels.
        emulator: the program that runs its programs.
        processor: the one that is emulated.
        description: of the processor, as Linux gives it. Without it in the folder a runtime would
            read that of this computer, and LiteRT crashes on it.
        packages: what else of Debian is needed.
        libraries: folders of libraries that Debian links to when it configures packages.
        runtimes: {runtime: its requirements}.
    """

    debian: str
    wheels: str
    emulator: str
    processor: str
    description: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...]
    runtimes: dict[str, tuple[str, ...]]

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms of wheels that bookworm's C library, 2.36, runs."""
        return tuple(f"manylinux_2_{minor}_{self.wheels}" for minor in range(36, 16, -1))


BOARDS = {
    "64-bit": Board(  # Raspberry Pi 4
        "arm64",
        "aarch64",
        "qemu-aarch64-static",
        "cortex-a72",
        _CPU_INFO.format(features="fp asimd evtstrm crc32 cpuid", architecture=8, part="0xd08"),
        (),
        (),
        {
            "ai_edge_litert": ("ai-edge-litert==2.3.0", "numpy"),
            "tflite_runtime": ("tflite-runtime==2.14.0", "numpy<2"),
        },
    ),
    "32-bit": Board(  # Raspberry Pi 2; no wheels of NumPy
        "armhf",
        "armv7l",
        "qemu-arm-static",
        "cortex-a7",
        _CPU_INFO.format(
            features="half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae",
            architecture=7,
            part="0xc07",
        ),
        ("python3-numpy",),
        ("/usr/lib/arm-linux-gnueabihf/blas", "/usr/lib/arm-linux-gnueabihf/lapack"),
        {"tflite_runtime": ("tflite-runtime==2.14.0",)},
    ),
}
_TOOLS = ("debootstrap", "qemu-user-static")
_PACKAGES = ("python3", "libstdc++6", "libgomp1", "zlib1g")


class UnavailableError(RuntimeError):
    """This computer cannot make or run the folder."""


@dataclasses.dataclass(frozen=True)
class Root:
    """The finished folder.

    Attributes:
        board: of what.
        folder: where it is.
        qemu: the emulator.
    """

    board: Board
    folder: pathlib.Path
    qemu: pathlib.Path

    def run(self, arguments: list[str], runtime: str) -> subprocess.CompletedProcess:
        """Run a Python program of this computer in the emulated one.

        Args:
            arguments: the program's path and its arguments.
            runtime: one of the board's; the only runtime that the program can import.
        """
        settings = {
            "PYTHONPATH": self.folder / "opt" / runtime,
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_LIBRARY_PATH": ":".join(f"{self.folder}{each}" for each in self.board.libraries),
        }
        emulated = [str(self.qemu), "-cpu", self.board.processor, "-L", str(self.folder)]
        for name, value in settings.items():
            emulated += ["-E", f"{name}={value}"]
        python = str(self.folder / "usr" / "bin" / f"python{PYTHON}")
        return subprocess.run(
            [*emulated, python, *arguments], capture_output=True, text=True, check=False
        )


def build(cache: pathlib.Path, board: str = "64-bit") -> Root:
    """Make the folder, or find it made.

    Args:
        board: a key of ``BOARDS``.
        cache: the folder to keep it in.

    Returns:
        The root.

    Raises:
        UnavailableError: this computer cannot, and why.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise UnavailableError("the emulation runs on x86-64 Linux")
    kind = BOARDS[board]
    folder, tools = cache / f"{kind.debian}-root", cache / "arm-tools"
    if not _made(folder):
        if os.geteuid() != 0:
            raise UnavailableError(f"making a Debian root in {folder} needs root")
        if not _made(tools):
            _unpack_tools(tools)
            _mark_made(tools)
        _bootstrap(folder, tools, kind)
        _describe_processor(folder, kind)
        _mark_made(folder)
    for runtime, packages in kind.runtimes.items():
        place = folder / "opt" / runtime
        if not _made(place):
            _install(place, packages, kind)
            _mark_made(place)
    return Root(kind, folder, tools / "usr" / "bin" / kind.emulator)


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
    kept = {board.emulator for board in BOARDS.values()}
    for emulator in (tools / "usr" / "bin").glob("qemu-*"):  # one for each kind of processor
        if emulator.name not in kept:
            emulator.unlink()


def _bootstrap(folder: pathlib.Path, tools: pathlib.Path, board: Board) -> None:
    """Fetch the packages of a small Debian and unpack every one of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _call(
        "sh",
        str(tools / "usr" / "sbin" / "debootstrap"),
        f"--arch={board.debian}",
        "--foreign",
        "--variant=minbase",
        f"--include={','.join(_PACKAGES + board.packages)}",
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


def _describe_processor(folder: pathlib.Path, board: Board) -> None:
    """Put a processor's description where runtimes read this computer's otherwise."""
    proc = folder / "proc"
    if proc.is_symlink():  # to this computer's own
        proc.unlink()
    described = {
        "proc/cpuinfo": board.description,
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
    }
    for name, text in described.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _install(folder: pathlib.Path, packages: tuple[str, ...], board: Board) -> None:
    """Unpack wheels for a board with this computer's pip."""
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [part for name in board.platforms for part in ("--platform", name)]
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
        *(("--no-deps",) if board.packages else ()),  # Debian brings them
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

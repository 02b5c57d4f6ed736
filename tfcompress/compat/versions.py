"""Which Keras and TensorFlow the package works with.

``make matrix`` tests the oldest and the newest of them and some between; `docs/versions.md` holds
the results. The next minor release of each is admitted before it exists, as most do no harm.
"""

import contextlib
import importlib.metadata
import warnings

# From the first on, below the second: the requirements in setup.cfg.
SUPPORTED = {"keras": ((3, 10), (3, 17)), "tensorflow": ((2, 19), (2, 23))}


class UnsupportedVersionError(ImportError):
    """Keras or TensorFlow is too old; the message says what is supported."""


def require_supported() -> None:
    """Check the installed Keras and TensorFlow.

    Warns:
        UserWarning: one is newer than any that is admitted; it may work.

    Raises:
        UnsupportedVersionError: one is older than any that works.
    """
    found = {}
    for name in SUPPORTED:
        # TensorFlow has builds of other names: those are left to pip.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    minor = {name: tuple(map(int, version.split(".")[:2])) for name, version in found.items()}
    if any(minor[name] < SUPPORTED[name][0] for name in found):
        raise UnsupportedVersionError(_message(found))
    if any(minor[name] >= SUPPORTED[name][1] for name in found):
        warnings.warn(f"{_message(found)}. It may work.", stacklevel=2)


def _message(found: dict[str, str]) -> str:
    ranges = " and ".join(
        f"{name} {first[0]}.{first[1]} to {end[0]}.{end[1] - 1}"
        for name, (first, end) in SUPPORTED.items()
    )
    received = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"tfcompress supports {ranges}. Received: {received}"

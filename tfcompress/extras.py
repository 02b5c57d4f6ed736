"""What to install for the parts that need more than the package itself."""

import importlib.metadata
import pathlib

_CHECKOUT = pathlib.Path(__file__).resolve().parents[1]


def missing_extra(purpose: str, extra: str) -> str:
    """Say in one line that something needs an extra, and how to install it.

    The command names the libraries themselves. It works wherever tfcompress was installed from.

    Args:
        purpose: what needs it: "A search", "The criterion 'lasso'".
        extra: the name of the extra.

    Example:
    >>> from tfcompress.extras import missing_extra
    >>> missing_extra("A search", "search")
    "A search needs the extra 'search': pip install 'optuna<5,>=4.9'"
    """
    wanted = _requirements(extra) or [f"{_CHECKOUT}[{extra}]"]
    quoted = " ".join(f"'{requirement}'" for requirement in wanted)
    return f"{purpose} needs the extra {extra!r}: pip install {quoted}"


def _requirements(extra: str) -> list[str]:
    """Return what an extra installs on this Python; nothing if tfcompress is not installed."""
    from packaging.requirements import Requirement

    try:
        listed = importlib.metadata.requires("tfcompress") or ()
    except importlib.metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in listed]
    return [
        f"{requirement.name}{requirement.specifier}"
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]

"""What this computer has: on Linux, macOS and Windows."""

import os


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of RAM."""
    import psutil  # slow to import, and few commands ask

    return psutil.virtual_memory().total

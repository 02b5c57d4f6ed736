"""Devices as data: a JSON file for each, the rules that check a file, and operation versions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "target": ["Target", "list_targets", "load_target", "oldest_runtime", "version_key"],
    },
)

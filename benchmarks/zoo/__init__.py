"""Architectures after the kinds that people publish, small, each as its idea needs and no more."""

import inspect

from zoo import images, others, sequences

GROUPS = {
    "images": images,
    "sequences and text": sequences,
    "tables, generative and others": others,
}
_HELPERS = {"columns", "frames", "gated_residual", "points", "series"}


def _architectures(module):
    return {
        name: made
        for name, made in inspect.getmembers(module, inspect.isfunction)
        if made.__module__ == module.__name__ and not name.startswith("_") and name not in _HELPERS
    }


# How to build each, by its name, by group.
ZOO = {group: _architectures(module) for group, module in GROUPS.items()}
# The same without groups.
MODELS = {name: build for models in ZOO.values() for name, build in models.items()}

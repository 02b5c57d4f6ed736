"""Running means of the terms of a loss, for the logs of ``fit``."""

from collections.abc import Iterable

import keras


class Trackers:
    """One running mean per term, weighted by the sizes of the batches.

    They are kept out of ``Model.metrics``: ``evaluate`` knows nothing of them.

    Args:
        names: the names of the terms; the logs call them ``<name>_loss``.
    """

    def __init__(self, names: Iterable[str]):
        self._means = {name: keras.metrics.Mean(name=f"{name}_loss") for name in names}

    def update(self, name: str, value, y_pred) -> None:
        """Add a batch's value of a term."""
        batch_size = keras.ops.shape(keras.tree.flatten(y_pred)[0])[0]
        self._means[name].update_state(value, sample_weight=batch_size)

    def results(self) -> dict:
        """Return the means so far."""
        return {mean.name: mean.result() for mean in self._means.values()}

    def reset(self) -> None:
        """Start anew."""
        for mean in self._means.values():
            mean.reset_state()

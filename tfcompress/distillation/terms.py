"""The terms of the distillation loss: weighted losses with names, and their running means."""

import dataclasses
from collections.abc import Iterable, Mapping

import keras

from tfcompress.distillation.keras_losses import adapt
from tfcompress.distillation.losses import DistillationLoss, SoftLabels
from tfcompress.distillation.schedules import (
    Schedule,
    checked_schedule,
    schedule_config,
    schedule_from_config,
)


@dataclasses.dataclass(frozen=True)
class Term:
    """A weighted loss of a distiller, with a unique name; the weight may be a schedule."""

    name: str
    loss: DistillationLoss
    weight: Schedule

    def get_config(self) -> dict:
        """Return what ``pair_from_config`` reads."""
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"loss": loss, "weight": schedule_config(self.weight)}


def pair_from_config(config: dict) -> tuple[DistillationLoss, Schedule]:
    """Create the (loss, weight) pair of a term from its config."""
    loss = keras.saving.deserialize_keras_object(config["loss"])
    return loss, schedule_from_config(config["weight"])


def as_terms(losses) -> tuple[Term, ...]:
    """Return the terms of a distiller's ``losses`` argument; repeated names are numbered."""
    if losses is None:
        losses = [SoftLabels()]
    if isinstance(losses, Mapping):
        losses = list(losses.items())
    if not isinstance(losses, (list, tuple)):
        losses = [losses]
    if not losses:
        raise ValueError(
            "`losses` needs at least one loss, or None for SoftLabels(). Received: losses=[]"
        )
    terms: list[Term] = []
    for item in losses:
        loss, weight = item if isinstance(item, (list, tuple)) and len(item) == 2 else (item, 1.0)
        loss = adapt(loss)
        same = sum(term.loss.name == loss.name for term in terms)
        name = f"{loss.name}_{same}" if same else loss.name
        terms.append(Term(name, loss, checked_schedule("weight", weight)))
    return tuple(terms)


class Trackers:
    """Running means of terms, weighted by batch size, called ``<name>_loss`` in the logs.

    They are not among ``Model.metrics``: ``evaluate`` does not use them.
    """

    def __init__(self, names: Iterable[str]):
        self._means = {name: keras.metrics.Mean(name=f"{name}_loss") for name in names}

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the means."""
        return [variable for mean in self._means.values() for variable in mean.variables]

    def update(self, name: str, value, y_pred) -> None:
        """Add a batch's value of a term."""
        batch_size = keras.ops.shape(keras.tree.flatten(y_pred)[0])[0]
        self._means[name].update_state(value, sample_weight=batch_size)

    def results(self) -> dict:
        """Return the means."""
        return {mean.name: mean.result() for mean in self._means.values()}

    def reset(self) -> None:
        """Reset the means."""
        for mean in self._means.values():
            mean.reset_state()

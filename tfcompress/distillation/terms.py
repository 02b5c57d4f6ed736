"""The terms of the distillation loss: which losses, with which weights, under which names."""

import dataclasses
from collections.abc import Mapping

import keras

from tfcompress.distillation.base import DistillationLoss
from tfcompress.distillation.keras_losses import adapt
from tfcompress.distillation.output_losses import SoftLabels
from tfcompress.distillation.schedules import (
    Schedule,
    checked_schedule,
    schedule_config,
    schedule_from_config,
)


@dataclasses.dataclass(frozen=True)
class Term:
    """One weighted loss of a distiller.

    Attributes:
        name: unique among the distiller's terms.
        loss: what it computes.
        weight: what the loss is multiplied by: a float or a schedule of the step.
    """

    name: str
    loss: DistillationLoss
    weight: Schedule

    def get_config(self) -> dict:
        """Return what ``term_from_config`` rebuilds."""
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"loss": loss, "weight": schedule_config(self.weight)}


def pair_from_config(config: dict) -> tuple[DistillationLoss, Schedule]:
    """Rebuild the (loss, weight) pair of a term from its configuration."""
    loss = keras.saving.deserialize_keras_object(config["loss"])
    return loss, schedule_from_config(config["weight"])


def as_terms(losses) -> tuple[Term, ...]:
    """Read the ``losses`` argument of a distiller.

    Args:
        losses: a loss of this package or of ``keras.distillation``; a list of losses and (loss,
            weight) pairs; a dictionary from loss to weight; or ``None`` for ``SoftLabels()``. A
            loss without a weight weighs 1.

    Returns:
        The terms, named after their losses, numbered where a name comes twice.

    Raises:
        TypeError: a loss is no distillation loss, or a weight neither a number nor a callable.
        ValueError: there is no loss, or a weight is below 0 or not finite.
    """
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

"""Distillation: a student that learns from a teacher inside the user's own ``fit``."""

from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.feature_losses import FSP, AttentionTransfer, Features, Relational
from tfcompress.distillation.output_losses import HardLabels, LogitsMSE, SoftLabels

__all__ = [
    "FSP",
    "AttentionTransfer",
    "Distiller",
    "Features",
    "HardLabels",
    "LogitsMSE",
    "Relational",
    "SoftLabels",
]

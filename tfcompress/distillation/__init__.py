"""Distillation: a student that learns from a teacher inside the user's own ``fit``."""

from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.losses import HardLabels, LogitsMSE, SoftLabels

__all__ = ["Distiller", "HardLabels", "LogitsMSE", "SoftLabels"]

"""Distillation: a student that learns from a teacher inside the user's own ``fit``."""

from tfcompress.distillation.cache import StaleCacheError, TeacherCache
from tfcompress.distillation.cache_filling import cache_teacher
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.examples import seeded_views
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
    "StaleCacheError",
    "TeacherCache",
    "cache_teacher",
    "seeded_views",
]

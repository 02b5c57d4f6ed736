"""Distillation: a student that learns from a teacher inside the user's own ``fit``."""

from tfcompress.distillation.cache import StaleCacheError, TeacherCache, cache_teacher
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.examples import seeded_views
from tfcompress.distillation.losses import (
    FSP,
    AttentionTransfer,
    Features,
    HardLabels,
    LogitsMSE,
    Relational,
    SoftLabels,
)

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

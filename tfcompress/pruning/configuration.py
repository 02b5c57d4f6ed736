"""Frozen dataclasses that Keras saves by their fields."""

import dataclasses
from typing import Any, ClassVar, Self


class Configuration:
    """Base class of frozen dataclasses whose config is their constructor's arguments."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # of the subclasses

    def get_config(self) -> dict:
        """Return the constructor arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the object from its config."""
        return cls(**config)

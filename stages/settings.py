"""The base of every settings class: strict, frozen, each field explained by the sentence under it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# YAML has no path type, so a path is the one value that is read from a string.
PathSetting = Annotated[Path, Field(strict=False)]


class Settings(BaseModel):
    """Refuses unknown keys and values of another type; the error names the dotted path."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, use_attribute_docstrings=True
    )

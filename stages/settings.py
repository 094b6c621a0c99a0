"""The base of every settings class: strict, frozen, each field explained by the sentence under it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# YAML has no path type, so a path is the one value that is read from a string.
PathSetting = Annotated[Path, Field(strict=False)]


class Settings(BaseModel):
    """Refuses unknown keys and values of another type; the error names the dotted path."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, use_attribute_docstrings=True
    )


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines ``key: old -> new`` for every setting that differs, for messages that refuse a resume."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed_settings(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines

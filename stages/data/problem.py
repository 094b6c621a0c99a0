"""What is wrong with one entry or one picture, in words a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "note"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a reader.

    file      annotation file or picture the finding is about, relative to the data set's root where it can be
    image     key of the sample
    reason    the value found, what is allowed, and why it matters
    severity  ``error``: the sample is not usable and goes to quarantine; ``note``: used, and counted
    """

    file: str
    image: str
    reason: str
    severity: Severity


class EntryError(ValueError):
    """One entry cannot be used; its reader turns the message into a `Problem` and goes on."""

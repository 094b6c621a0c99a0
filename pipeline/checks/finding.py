"""One thing that `mipd-pipe doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "warn", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it.

    state  `ok`; `note` = absent or broken, but this configuration does without it; `warn` = the run begins,
           but may be slow or end early; `missing` = the run cannot succeed before it is mended
    mend   what to type or change; empty where nothing is to be done
    """

    name: str
    state: State
    found: str
    mend: str = ""


def absent(name: str, needed: bool, found: str, mend: str) -> Finding:
    """Of a thing that is not there: a note where the configuration does without it."""
    return Finding(name, "missing" if needed else "note", found, mend)

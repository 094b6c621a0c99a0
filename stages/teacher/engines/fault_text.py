"""Words an error for a user: short, and the same in every process."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{6,}")
_ERROR_CHARS = 300


def plain(reason: BaseException) -> str:
    """The first line of an error, without memory addresses, which differ in every process."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return _ADDRESS.sub("", lines[0])[:_ERROR_CHARS]

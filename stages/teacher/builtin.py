"""Encoders without weights: fixed features of pictures and hashed words, for trials, tests and a baseline.

Both are decided by their constructor arguments alone and know nothing of any data set. The vectors of a
picture or a text do not depend on what else is in its batch, so a resumed run writes the same bytes.
"""

from __future__ import annotations

from stages.teacher.builtin_text import BuiltinText
from stages.teacher.builtin_vision import BuiltinVision

__all__ = ["BuiltinText", "BuiltinVision"]

"""Under which licence each part of a student stands, as far as its own files say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cache.errors import UserError
from stages.printable import printable
from stages.teacher.encoders.hf_checkpoint import open_checkpoint

OWN = "Apache-2.0, part of mipd-pipe"
_LONGEST = 80  # letters of a licence's name
# The head of a model card on the hub is YAML between two lines of dashes.
_STATED = re.compile(r"\A---\s*\n(?:.*\n)*?license:[ \t]*(?P<name>\S[^\n]*)\n(?:.*\n)*?---", re.MULTILINE)


def licence_of(record: Mapping[str, Any]) -> str:
    """In words, of an encoder that a checkpoint records; says so where it is not to be known here."""
    settings = record["settings"]
    if settings["source"] == "builtin":
        return OWN
    model = settings["model"]
    try:
        card = open_checkpoint(model, settings["revision"]).find_optional("README.md")
        text = card.read_text(encoding="utf-8", errors="replace") if card else ""
    except (UserError, OSError):
        text = ""
    stated = _STATED.match(text)
    if stated is None:
        return f"not stated in the files of {printable(model)}; see where it was published"
    name = printable(stated["name"].strip("'\" "))[:_LONGEST]
    return f"{name}, as the model card of {printable(model)} says"

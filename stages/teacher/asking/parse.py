"""From a teacher's raw answer to one clean text per kind."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from cache.kinds import KINDS, Kind

PARSER_VERSION = 1  # enters the request key: raise it when the same answer would be read differently

# Control, format and surrogate characters: they can steer a terminal, turn the direction of text, or
# (a lone surrogate, which JSON can spell) not be written as UTF-8 at all.
_DROPPED = frozenset({"Cc", "Cf", "Cs"})
_SHOWN = 60  # characters of a bad answer that an error message quotes


class ParseError(ValueError):
    """The answer is not the JSON object that was asked for; the message says in what way."""


def parse_answer(text: str, kinds: Sequence[Kind] = KINDS) -> dict[Kind, str]:
    """One cleaned text per kind, in the order of `kinds`. Raises ParseError."""
    answer = parse_object(text, [kind.field for kind in kinds])
    return {kind: _read_text(answer, kind.field) for kind in kinds}


def parse_object(text: str, names: Sequence[str]) -> dict[str, Any]:
    """The JSON object in `text`, which must have the fields `names` and no others. Raises ParseError."""
    answer = _read_object(text)
    unexpected = sorted(set(answer) - set(names))
    if unexpected:
        raise ParseError(f"field {_quote(unexpected[0])} was not asked for")
    missing = [name for name in names if name not in answer]
    if missing:
        raise ParseError(f"field {missing[0]!r} is missing")
    return answer


def _read_object(text: str) -> dict[str, Any]:
    stripped = text.strip()
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_unique).raw_decode(stripped)
    except ParseError:
        raise
    except (ValueError, RecursionError) as reason:
        raise ParseError(f"not JSON ({reason}): {_quote(stripped)}") from None
    if stripped[end:]:
        raise ParseError(f"text after the JSON object: {_quote(stripped[end:])}")
    if not isinstance(value, dict):
        raise ParseError(f"a JSON object was asked for, not {type(value).__name__}: {_quote(stripped)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ParseError(f"field {_quote(twice[0])} is there twice")
    return dict(pairs)


def _read_text(answer: dict[str, Any], name: str) -> str:
    if not isinstance(answer[name], str):
        raise ParseError(f"field {name!r} is {type(answer[name]).__name__}, not text")
    return clean_text(answer[name])


def clean_text(text: str) -> str:
    """Every run of white space one space, unprintable characters gone, composed form (NFC)."""
    spaced = " ".join(text.split())
    if spaced.isascii() and spaced.isprintable():  # nearly every text, and ten times faster
        return spaced
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _DROPPED)
    return " ".join(unicodedata.normalize("NFC", kept).split())


def _quote(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")

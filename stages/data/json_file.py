"""Reads one JSON object from a file, and keeps sight of keys that stand in it twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cache.errors import UserError


class RepeatedKeys(dict[str, Any]):
    """A JSON object in which keys stand more than once; as a dict it holds the last value of each.

    `repeats` has every value of the repeated keys, in the order of the file. Plain `json` drops all but
    the last in silence.
    """

    repeats: dict[str, list[Any]]

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        values: dict[str, list[Any]] = {}
        for key, value in pairs:
            values.setdefault(key, []).append(value)
        self.repeats = {key: found for key, found in values.items() if len(found) > 1}


def json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What `json` makes of the pairs of an object, given it as `object_pairs_hook`; see `RepeatedKeys`."""
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)


def read_json_object(path: Path, holds: str) -> dict[str, Any]:
    """The object in a JSON file; `holds` says in the message what the file should hold.

    Raises UserError, naming file and position, where the file is missing, empty, not UTF-8, not JSON,
    or holds something other than one non-empty object.
    """
    text = read_text(path, holds)
    try:
        value = json.loads(text, object_pairs_hook=json_object)
    except json.JSONDecodeError as reason:
        raise UserError(
            f"{path}, line {reason.lineno}, column {reason.colno}: not JSON ({reason.msg}); "
            f"expected {holds}; repair the file there, or take it again from where it was published"
        ) from None
    except (ValueError, RecursionError) as reason:  # a number of 5,000 digits, brackets 5,000 deep
        raise UserError(f"{path}: JSON that cannot be read ({reason}); expected {holds}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a JSON {type(value).__name__}; expected {holds}")
    if not value:
        raise UserError(f"{path}: holds an empty object; expected {holds}")
    return value


def read_text(path: Path, holds: str) -> str:
    """A UTF-8 file's text. Raises UserError where it is missing, unreadable, empty or not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise UserError(f"{path}: cannot be read ({reason.strerror}); expected {holds}") from None
    if not data.strip():
        raise UserError(
            f"{path}: empty file ({len(data)} bytes); expected {holds}; "
            "take it again from where it was published"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise UserError(
            f"{path}, byte {reason.start}: not UTF-8 text ({reason.reason}); expected {holds}; "
            "save the file as UTF-8"
        ) from None

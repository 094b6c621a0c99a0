"""How a manifest is written as JSON, and read back or refused.

Format 2 keeps each distinct producer once, in a list that the parts' numbers point into: with a whole one in
every part, as in format 1, adding a part to 23,000 others took seconds. Format 1 is still read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.keys import canonical, fingerprint
from cache.part import Manifest, Part

FORMAT = 2  # written; format 1 is read as well
_READABLE = (1, FORMAT)
RESTORE = "put its copy back with `mipd-pipe inspect repair`, or move the store away and run again"
_OTHER = "use the version of mipd-pipe that wrote it, or rebuild the store"
_PART_FIELDS = [field.name for field in fields(Part)]


class OtherFormatError(UserError):
    """A whole manifest of another format than this version's: nothing to repair."""


def to_json(manifest: Manifest) -> bytes:
    """With a checksum of its own, because it alone says what counts and no other file vouches for it.

    A part a line, so that two manifests can be compared by eye.
    """
    producers, numbers = _distinct_producers(manifest.parts)
    parts = [_part_fields(part, number) for part, number in zip(manifest.parts, numbers, strict=True)]
    head = {
        "format": FORMAT,
        "data_fingerprint": manifest.data_fingerprint,
        "held_out_verbs": list(manifest.held_out_verbs),
        "current": manifest.current,
    }
    checksum = fingerprint({**head, "producers": producers, "parts": parts})
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    lines += [f'"producers": {_lines(producers)}', f'"parts": {_lines(parts)}', f'"checksum": "{checksum}"']
    return ("{" + ",\n".join(lines) + "}\n").encode()


def _lines(values: Sequence[Mapping[str, Any]]) -> str:
    """A list with each of its objects on a line of its own."""
    # All at once and then broken, which takes half the time of one after the other. Within a text a quotation
    # mark has a backslash before it, so that only the ends of objects are found.
    return json.dumps(values).replace('}, {"', '},\n {"')


def _part_fields(part: Part, producer: int) -> dict[str, Any]:
    found = {name: getattr(part, name) for name in _PART_FIELDS}
    if not part.measured:
        del found["measured"]
    return {**found, "producer": producer}


def _distinct_producers(parts: Sequence[Part]) -> tuple[list[dict[str, Any]], list[int]]:
    """Each distinct producer once, in the order of first use, and which of them each part has."""
    numbers: dict[bytes, int] = {}
    # Parts read from one manifest share their producers: to compare them all would take longer than the rest.
    known: dict[int, int] = {}
    found: list[int] = []
    producers: list[dict[str, Any]] = []
    for part in parts:
        number = known.get(id(part.producer))
        if number is None:
            number = numbers.setdefault(canonical(part.producer), len(producers))
            known[id(part.producer)] = number
            if number == len(producers):
                producers.append(part.producer)
        found.append(number)
    return producers, found


def from_json(data: bytes, path: Path) -> Manifest:
    """Raises UserError naming `path` where it is damaged, OtherFormatError where it is of another format."""
    try:
        told = json.loads(data)
    except ValueError as reason:
        raise UserError(
            f"{path} is not JSON ({reason}); it is written all at once, so something else "
            f"changed it: {RESTORE}"
        ) from None
    recorded = told.pop("checksum", None) if isinstance(told, dict) else None
    found, contents = told.get("format") if isinstance(told, dict) else None, fingerprint(told)
    if found not in _READABLE:
        # A flipped byte may make any number of the format, but not its checksum.
        raise (OtherFormatError if recorded == contents else UserError)(
            f"{path} has store format {found!r}; this version reads formats 1 and {FORMAT}: {_OTHER}"
        )
    if recorded != contents:
        raise UserError(
            f"{path} was changed after it was written: its contents have checksum {contents}, "
            f"it records {recorded}; {RESTORE}"
        )
    try:
        return _manifest(told)
    except (KeyError, TypeError, IndexError) as reason:
        raise UserError(f"{path} lacks or has an unknown field ({reason}): {_OTHER}") from None


def _manifest(told: dict[str, Any]) -> Manifest:
    read = _parts_1 if told.pop("format") == 1 else _parts_2
    parts = tuple(read(told))
    held_out = tuple(told.pop("held_out_verbs"))
    return Manifest(parts=parts, held_out_verbs=held_out, **told)


def _parts_2(told: dict[str, Any]) -> Iterator[Part]:
    producers = told.pop("producers")
    for part in told.pop("parts"):
        yield Part(**{**part, "producer": producers[part["producer"]]})


def _parts_1(told: dict[str, Any]) -> Iterator[Part]:
    """Each part has its producer whole, and in it the fidelity of a shard, which is the shard's own."""
    shared: dict[bytes, dict[str, Any]] = {}
    for part in told.pop("parts"):
        producer = dict(part["producer"])
        measured = {"fidelity": producer.pop("fidelity")} if "fidelity" in producer else {}
        yield Part(
            **{**part, "producer": shared.setdefault(canonical(producer), producer)}, measured=measured
        )

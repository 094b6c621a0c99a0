"""Reads a vocabulary from the four files SWiG publishes it in."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import UserError
from stages.data.json_file import read_json_object, read_text
from stages.data.layout import CLASSES, ROLES, SPACE, VERBS
from stages.data.names import is_storable, nearest, short
from stages.data.sample import MAX_ROLES
from stages.data.vocabulary import BLANK, OOV, PAD, VerbFrame, Vocabulary

NOUN = re.compile(r"n[0-9]{8}")  # a WordNet 3.0 noun synset, as ImageNet spells it
SPECIAL_CLASSES = (BLANK, OOV, PAD)


def read_vocabulary(annotations: Path) -> Vocabulary:
    """The vocabulary of a folder in SWiG's layout; its class numbers are the published ones.

    Raises UserError, naming file and line, for a file that is missing or of another shape, a verb or role
    or class that stands twice, a verb without a frame, or a frame with a role that is not listed.
    """
    verbs = _read_lines(annotations / VERBS, "one verb a line")
    roles = _read_lines(annotations / ROLES, "one role a line")
    nouns = _read_classes(annotations / CLASSES)
    path = annotations / SPACE
    space = read_json_object(path, 'an object with "verbs" and "nouns"')
    frames = _section(path, space, "verbs")
    return Vocabulary(
        verbs=verbs,
        roles=roles,
        nouns=nouns,
        frames={verb: _read_frame(path, verb, frames, frozenset(roles)) for verb in verbs},
        glosses=_read_glosses(path, _section(path, space, "nouns")),
    )


def _read_lines(path: Path, holds: str) -> tuple[str, ...]:
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, holds).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        if name in lines:
            raise UserError(
                f"{path}, line {number}: {name!r} stands already in line {lines[name]}; "
                "a name has one number; remove one of them"
            )
        lines[name] = number
    return tuple(lines)


def _read_classes(path: Path) -> tuple[str, ...]:
    """Noun classes in the order of their numbers: rows ``name,number`` counted from 0."""
    holds = "rows of a noun class and its number, counted from 0"
    nouns: dict[str, None] = {}
    for line, row in enumerate(csv.reader(read_text(path, holds).splitlines()), start=1):
        if len(row) != 2 or row[1].strip() != str(len(nouns)):
            raise UserError(
                f"{path}, line {line}: found {','.join(row)!r}; expected a noun class and {len(nouns)}, "
                "because the number is the class's position; take the file from where it was published"
            )
        name = row[0].strip()
        if not (NOUN.fullmatch(name) or name in SPECIAL_CLASSES):
            raise UserError(
                f"{path}, line {line}: {name!r} is neither a WordNet id such as 'n02374451' nor one of "
                f"{', '.join(SPECIAL_CLASSES)}"
            )
        if name in nouns:
            raise UserError(f"{path}, line {line}: {name!r} stands twice; a class has one number")
        nouns[name] = None
    missing = [name for name in SPECIAL_CLASSES if name not in nouns]
    if missing:
        raise UserError(
            f"{path}: lacks the class {', '.join(missing)}, which every SWiG model has; add its row"
        )
    return tuple(nouns)


def _section(path: Path, space: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = space.get(name)
    if not isinstance(section, dict) or not section:
        raise UserError(
            f'{path}: lacks the object "{name}"; expected an object with "verbs" and "nouns"; '
            "take the file again from where SWiG is published"
        )
    return section


def _read_frame(path: Path, verb: str, frames: Mapping[str, Any], roles: frozenset[str]) -> VerbFrame:
    frame = frames.get(verb)
    if not isinstance(frame, dict):
        raise UserError(
            f"{path}: no frame for the verb {verb!r} of {VERBS}{nearest(verb, frames)}; "
            "every verb needs its roles in order and a sentence"
        )
    order, template, definition = frame.get("order"), frame.get("abstract"), frame.get("def", "")
    if not isinstance(order, list) or not all(isinstance(role, str) for role in order):
        raise UserError(f'{path}: verb {verb!r}: "order" is {short(order)}; expected a list of role names')
    if not 1 <= len(order) <= MAX_ROLES or len(set(order)) < len(order):
        raise UserError(
            f'{path}: verb {verb!r}: "order" has {len(order)} roles ({len(set(order))} different); '
            f"expected 1 to {MAX_ROLES}, each once"
        )
    unknown = [role for role in order if role not in roles]
    if unknown:
        raise UserError(
            f"{path}: verb {verb!r}: the role {unknown[0]!r} is not in {ROLES}{nearest(unknown[0], roles)}"
        )
    return VerbFrame(
        roles=tuple(order),
        template=_sentence(path, verb, "abstract", template),
        definition=_sentence(path, verb, "def", definition),
    )


def _sentence(path: Path, verb: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not is_storable(value):
        raise UserError(f'{path}: verb {verb!r}: "{key}" is {short(value)}; expected a sentence')
    return value


def _read_glosses(path: Path, nouns: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    glosses: dict[str, tuple[str, ...]] = {}
    for noun, fields in nouns.items():
        gloss = fields.get("gloss") if isinstance(fields, dict) else None
        if not isinstance(gloss, list) or not all(
            isinstance(text, str) and is_storable(text) for text in gloss
        ):
            raise UserError(f'{path}: noun {noun!r}: "gloss" is {short(gloss)}; expected a list of words')
        glosses[noun] = tuple(gloss)
    return glosses

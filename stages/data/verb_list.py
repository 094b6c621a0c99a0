"""Reads a list of verbs of the user's own: which activities a student is asked about, and their roles."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cache.errors import UserError
from stages.data.json_file import RepeatedKeys, read_json_object, read_text
from stages.data.names import is_storable, nearest, short
from stages.data.sample import MAX_ROLES
from stages.data.vocabulary import VerbFrame, Vocabulary

LONGEST_NAME = 100  # letters of a verb or role; what no text encoder reads whole is no name
HOLDS = "a YAML list of verbs with their roles, as `- juggling: [agent, tool, place]`"
_KEYS = ("verb", "roles", "definition", "order", "abstract", "def")  # the last three are SWiG's


class _Entry(NamedTuple):
    """One verb as it stands in the file, not looked at yet."""

    verb: object
    fields: object


def read_verb_list(path: Path) -> Vocabulary:
    """The verbs of a file with any roles, in the file's order; the vocabulary has no noun.

    YAML: a list of ``verb:``, ``roles: [...]``, ``definition:`` or, shorter, of ``juggling: [agent, tool]``;
    or one mapping from verbs to either. JSON: the same, or SWiG's ``imsitu_space.json``, whose sentence
    templates and definitions are then used.

    Raises UserError that names file and verb: nothing in it, a verb or a role twice, no role, more than six,
    or a name that is no text or has no letter.
    """
    frames: dict[str, VerbFrame] = {}
    spoken: dict[str, str] = {}
    for entry in _entries(path, _read(path)):
        verb = _name(path, "a verb", entry.verb)
        before = spoken.setdefault(_read_aloud(verb), verb)
        if verb in frames or before != verb:
            raise UserError(
                f"{path}: the verb {verb!r} stands twice{_as(before, verb)}; the student compares texts, and "
                "these are one: remove or reword one of them"
            )
        frames[verb] = _frame(path, verb, entry.fields)
    if not frames:
        raise UserError(f"{path}: names no verb; expected {HOLDS}")
    roles = dict.fromkeys(role for frame in frames.values() for role in frame.roles)
    return Vocabulary(tuple(frames), tuple(roles), (), frames, {})


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".json" and not read_text(path, HOLDS).lstrip().startswith("["):
        return read_json_object(path, HOLDS)
    try:
        return yaml.load(read_text(path, HOLDS), _Loader)
    except yaml.YAMLError as reason:
        where = getattr(reason, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UserError(
            f"{path}{line}: not YAML ({getattr(reason, 'problem', None) or reason}); expected {HOLDS}"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deep to be read; expected {HOLDS}") from None


class _Loader(yaml.SafeLoader):
    """Keeps sight of keys that stand twice, which PyYAML drops in silence."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = loader.construct_pairs(node, deep=True)
    for key, _ in pairs:
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a list as a key", node.start_mark)
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _entries(path: Path, content: Any) -> Iterator[_Entry]:
    if isinstance(content, dict) and isinstance(content.get("verbs"), dict):  # imsitu_space.json
        content = content["verbs"]
    if isinstance(content, dict) and "verb" not in content:
        _refuse_repeats(path, content)
        yield from (_Entry(verb, fields) for verb, fields in content.items())
    elif isinstance(content, list):
        yield from (_of_list(path, number, item) for number, item in enumerate(content, start=1))
    else:
        raise UserError(f"{path}: holds {short(content)}; expected {HOLDS}")


def _of_list(path: Path, number: int, item: Any) -> _Entry:
    if isinstance(item, dict):
        _refuse_repeats(path, item)
        if "verb" in item:
            return _Entry(item["verb"], {key: value for key, value in item.items() if key != "verb"})
        if len(item) == 1:
            return _Entry(*next(iter(item.items())))
    raise UserError(
        f"{path}: entry {number} is {short(item)}; expected `juggling: [agent, tool, place]`, or `verb:`, "
        "`roles:` and perhaps `definition:`"
    )


def _refuse_repeats(path: Path, fields: Mapping[Any, Any]) -> None:
    if isinstance(fields, RepeatedKeys):
        name = next(iter(fields.repeats))
        raise UserError(f"{path}: {name!r} stands twice; the second would hide the first: remove one of them")


def _frame(path: Path, verb: str, fields: object) -> VerbFrame:
    if isinstance(fields, list):
        fields = {"roles": fields}
    if not isinstance(fields, dict):
        raise UserError(
            f"{path}: verb {verb!r} has {short(fields)}; expected its roles, e.g. [agent, tool, place]"
        )
    _refuse_repeats(path, fields)
    if "order" not in fields and (unknown := [key for key in fields if key not in _KEYS]):
        raise UserError(
            f"{path}: verb {verb!r}: unknown key {unknown[0]!r}{nearest(str(unknown[0]), _KEYS)}; known: "
            "roles, definition"
        )
    sentences = {key: fields.get(key) or "" for key in ("definition", "def", "abstract")}
    for key, value in sentences.items():
        if not isinstance(value, str) or not is_storable(value):
            raise UserError(f"{path}: verb {verb!r}: {key} is {short(value)}; expected a sentence")
    return VerbFrame(
        roles=_roles(path, verb, fields.get("order", fields.get("roles"))),
        template=sentences["abstract"],
        definition=sentences["definition"] or sentences["def"],
    )


def _roles(path: Path, verb: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise UserError(
            f"{path}: verb {verb!r} has no roles ({short(given)}); every verb needs 1 to {MAX_ROLES}, e.g. "
            "[agent, place]: a role is what the student looks for in the picture"
        )
    roles = tuple(_name(path, f"a role of the verb {verb!r}", role) for role in given)
    if len(roles) > MAX_ROLES:
        raise UserError(
            f"{path}: verb {verb!r} has {len(roles)} roles; at most {MAX_ROLES} fit the student's role axis, "
            "as in SWiG: leave out what matters least"
        )
    spoken: dict[str, str] = {}
    for role in roles:
        if _read_aloud(role) in spoken:
            raise UserError(
                f"{path}: verb {verb!r}: the role {role!r} stands twice"
                f"{_as(spoken[_read_aloud(role)], role)}; both would be filled alike: remove one of them"
            )
        spoken[_read_aloud(role)] = role
    return roles


def _name(path: Path, what: str, name: object) -> str:
    if not isinstance(name, str):
        raise UserError(f"{path}: {what} is {short(name)}, which YAML takes for no text; put it in quotes")
    name = unicodedata.normalize("NFC", name.strip())
    if not any(letter.isalnum() for letter in name):
        raise UserError(
            f"{path}: {what} is {short(name)}, which has no letter; the text encoder could make nothing of it"
        )
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(
            f"{path}: {what} is {short(name)}, {len(name)} letters; expected one line of at most "
            f"{LONGEST_NAME} printable letters: longer explanations go into `definition`"
        )
    return name


def _read_aloud(name: str) -> str:
    """Names that the prompt templates turn into one text are equal here."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _as(before: str, now: str) -> str:
    return "" if before == now else f", before as {before!r}"

"""The words around the picture: versioned files filled in with one sample's annotation and contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import yaml

from cache.errors import UserError
from cache.kinds import KINDS, Kind
from stages.data.sample import Box, Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.engine import Contrast, Prompt
from stages.teacher.parse import PARSER_VERSION

PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "system": frozenset(),
    "shared": frozenset(),
    "question": frozenset({
        "verb", "definition", "sentence", "roles", "fields",
        "contrast_verb", "contrast_definition", "contrast_sentence", "contrast_roles",
    }),
    "again": frozenset({"reasons"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One prompt as its file has it. `digest` is blake2b of the file's bytes."""

    system: str
    shared: str
    question: Template
    again: Template
    digest: str


@lru_cache(maxsize=8)
def load_prompt(name: str) -> PromptFile:
    """Reads a prompt by its name in this package, or by path where `name` ends in ``.yaml``.

    Raises UserError where there is none, or its parts are not those of `PLACEHOLDERS`.
    """
    raw = _read(name)
    try:
        parts = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as reason:
        raise UserError(f"teacher.prompt {name!r}: not readable as YAML: {reason}") from None
    expected = [field.name for field in fields(PromptFile)][:-1]
    if not isinstance(parts, dict) or sorted(parts) != sorted(expected):
        raise UserError(f"teacher.prompt {name!r}: needs exactly the parts {', '.join(expected)}")
    for part, text in parts.items():
        _check_part(name, part, text)
    return PromptFile(
        system=parts["system"].strip(),
        shared=parts["shared"].strip(),
        question=Template(parts["question"].strip()),
        again=Template(parts["again"].rstrip()),
        digest=blake2b(raw, digest_size=16).hexdigest(),
    )


def _read(name: str) -> bytes:
    folder = files("stages.teacher") / "prompts"
    source = Path(name).expanduser() if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not source.is_file():
        known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())
        raise UserError(
            f"teacher.prompt {name!r}: no such prompt; known are {', '.join(known)}, "
            "or give the path of a file that ends in .yaml"
        )
    return source.read_bytes()


def _check_part(name: str, part: str, text: Any) -> None:
    if not isinstance(text, str):
        raise UserError(f"teacher.prompt {name!r}: {part} must be text, not {type(text).__name__}")
    template = Template(text)
    if not template.is_valid():
        raise UserError(f"teacher.prompt {name!r}: {part} has a lone $; write $$ for a dollar sign")
    unknown = set(template.get_identifiers()) - PLACEHOLDERS[part]
    if unknown:
        allowed = ", ".join(f"${known}" for known in sorted(PLACEHOLDERS[part])) or "none"
        raise UserError(f"teacher.prompt {name!r}: {part} asks for ${min(unknown)}; it may ask for {allowed}")


def prompt_identity(name: str) -> dict[str, str | int]:
    """What of the prompt decides a row: its name, its text's digest, the parser that reads the answer."""
    return {"prompt": name, "prompt_digest": load_prompt(name).digest, "parser": PARSER_VERSION}


def build_prompt(
    name: str,
    sample: Sample,
    contrast: Contrast,
    vocabulary: Vocabulary,
    reasons: Mapping[str, str] | None = None,
) -> Prompt:
    """The prompt for one picture.

    reasons  field of a rejected kind -> why; asks for these fields alone and says what was wrong with them
    """
    prompt = load_prompt(name)
    true, wrong = vocabulary.frames[sample.verb], vocabulary.frames[contrast.verb]
    question = prompt.question.substitute(
        verb=sample.verb,
        definition=f" ({true.definition})" if true.definition else "",
        sentence=true.template,
        roles=_role_lines(sample, vocabulary),
        contrast_verb=contrast.verb,
        contrast_definition=f" ({wrong.definition})" if wrong.definition else "",
        contrast_sentence=wrong.template,
        contrast_roles=_wrong_lines(sample, contrast, vocabulary),
        fields=", ".join(reasons or [kind.field for kind in KINDS]),
    )
    if reasons:
        faults = "\n".join(f"- {name}: {reason}" for name, reason in reasons.items())
        question += "\n" + prompt.again.substitute(reasons=faults)
    return Prompt(prompt.system, prompt.shared, question)


def _role_lines(sample: Sample, vocabulary: Vocabulary) -> str:
    rows = zip(sample.roles, sample.nouns, sample.boxes, strict=True)
    return "\n".join(
        f"- {role}: {_names(nouns, vocabulary)}{_place(box, sample.width, sample.height)}"
        for role, nouns, box in rows
    )


def _names(nouns: tuple[str, ...], vocabulary: Vocabulary) -> str:
    """The annotators' nouns, each gloss once, e.g. ``man / skateboarder``."""
    glosses = dict.fromkeys(vocabulary.gloss(noun) for noun in nouns if noun)
    return " / ".join(glosses) or "not filled"


def _place(box: Box | None, width: int, height: int) -> str:
    if box is None:
        return ""
    x1, y1, x2, y2 = box
    return f", box {x1 / width:.2f}, {y1 / height:.2f}, {x2 / width:.2f}, {y2 / height:.2f}"


def _wrong_lines(sample: Sample, contrast: Contrast, vocabulary: Vocabulary) -> str:
    lines = [
        f"- {role}: {vocabulary.gloss(contrast.nouns[role])}"
        for role in sample.roles
        if role in contrast.nouns
    ]
    return "\n".join(lines) or "- none; take things that look alike"


def answer_schema(kinds: Sequence[Kind] = KINDS, max_chars: int = 600) -> dict[str, Any]:
    """JSON schema of an answer: one string per kind, in that order, and nothing else.

    `max_chars` is a guard against a model that never stops: it cuts in mid-word, so keep it generous.
    """
    names = [kind.field for kind in kinds]
    text = {"type": "string", "minLength": 1, "maxLength": max_chars}
    return {
        "type": "object",
        "properties": {name: dict(text) for name in names},
        "required": names,
        "additionalProperties": False,
    }

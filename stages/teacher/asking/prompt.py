"""The words around the picture: versioned files filled in with one sample's annotation and contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

import yaml

from cache.errors import UserError
from cache.kinds import KINDS, Kind
from stages.data.sample import Box, Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.parse import PARSER_VERSION
from stages.teacher.engines.engine import Contrast, Prompt

Form = Literal["rationales", "judge"]

_ANNOTATION = frozenset({"verb", "definition", "sentence", "roles", "fields"})
_CONTRAST = frozenset({"contrast_verb", "contrast_definition", "contrast_sentence", "contrast_roles"})
# The parts that a file of each form consists of, and what each part may ask for.
PLACEHOLDERS: Mapping[Form, Mapping[str, frozenset[str]]] = {
    "rationales": {
        "system": frozenset(),
        "shared": frozenset(),
        "question": _ANNOTATION | _CONTRAST,
        "again": frozenset({"reasons"}),
    },
    "judge": {
        "system": frozenset(),
        "shared": frozenset(),
        "question": _ANNOTATION | {"contrast", "texts"},
        "contrast": _CONTRAST,
    },
}
_SETTING: Mapping[Form, str] = {"rationales": "teacher.prompt", "judge": "teacher.judge.prompt"}


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One prompt as its file has it. `digest` is blake2b of the file's bytes.

    again     for a request after a rejection; empty in a judge's file
    contrast  for a request with a negative to judge; empty in a file that asks for rationales
    """

    system: str
    shared: str
    question: Template
    again: Template
    contrast: Template
    digest: str


@lru_cache(maxsize=8)
def load_prompt(name: str, form: Form = "rationales") -> PromptFile:
    """Reads a prompt by its name in this package, or by path where `name` ends in ``.yaml``.

    Raises UserError where there is none, or its parts are not those of `PLACEHOLDERS`.
    """
    called = f"{_SETTING[form]} {name!r}"
    raw = _read(name, form, called)
    try:
        parts = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as reason:
        raise UserError(f"{called}: not readable as YAML: {reason}") from None
    expected = PLACEHOLDERS[form]
    if not isinstance(parts, dict) or set(parts) != set(expected):
        raise UserError(f"{called}: needs exactly the parts {', '.join(expected)}")
    for part, text in parts.items():
        _check_part(called, part, text, expected[part])
    return PromptFile(
        system=Template(parts["system"].strip()).substitute(),
        shared=Template(parts["shared"].strip()).substitute(),
        question=Template(parts["question"].strip()),
        again=Template(parts.get("again", "").rstrip()),
        contrast=Template(parts.get("contrast", "").strip()),
        digest=blake2b(raw, digest_size=16).hexdigest(),
    )


def _read(name: str, form: Form, called: str) -> bytes:
    folder = files("stages.teacher.asking") / "prompts"
    source = Path(name).expanduser() if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not source.is_file():
        names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())
        known = [name for name in names if name.startswith("judge") == (form == "judge")]
        raise UserError(
            f"{called}: no such prompt; known are {', '.join(known)}, "
            "or give the path of a file that ends in .yaml"
        )
    return source.read_bytes()


def _check_part(called: str, part: str, text: Any, may_ask_for: frozenset[str]) -> None:
    if not isinstance(text, str):
        raise UserError(f"{called}: {part} must be text, not {type(text).__name__}")
    template = Template(text)
    if not template.is_valid():
        raise UserError(f"{called}: {part} has a lone $; write $$ for a dollar sign")
    unknown = set(template.get_identifiers()) - may_ask_for
    if unknown:
        allowed = ", ".join(f"${known}" for known in sorted(may_ask_for)) or "none"
        raise UserError(f"{called}: {part} asks for ${min(unknown)}; it may ask for {allowed}")


def prompt_identity(
    name: str, form: Form = "rationales", parser: int = PARSER_VERSION
) -> dict[str, str | int]:
    """What of the prompt decides a row: its name, its text's digest, the parser that reads the answer."""
    return {"prompt": name, "prompt_digest": load_prompt(name, form).digest, "parser": parser}


def build_prompt(
    name: str,
    sample: Sample,
    contrast: Contrast,
    vocabulary: Vocabulary,
    kinds: Sequence[Kind] = KINDS,
    reasons: Mapping[Kind, str] | None = None,
) -> Prompt:
    """The prompt that asks for the rationales `kinds` of one picture.

    reasons  why earlier texts of some of these kinds were rejected
    """
    prompt = load_prompt(name)
    question = prompt.question.substitute(
        annotation_words(sample, vocabulary),
        **contrast_words(sample, contrast, vocabulary),
        fields=", ".join(kind.field for kind in kinds),
    )
    if reasons:
        faults = "\n".join(f"- {kind.field}: {reason}" for kind, reason in reasons.items())
        question += "\n" + prompt.again.substitute(reasons=faults)
    return Prompt(prompt.system, prompt.shared, question)


def annotation_words(sample: Sample, vocabulary: Vocabulary) -> dict[str, str]:
    """Placeholder -> what the annotation puts there."""
    frame = vocabulary.frames[sample.verb]
    return {
        "verb": sample.verb,
        "definition": f" ({frame.definition})" if frame.definition else "",
        "sentence": frame.template,
        "roles": _role_lines(sample, vocabulary),
    }


def contrast_words(sample: Sample, contrast: Contrast, vocabulary: Vocabulary) -> dict[str, str]:
    """Placeholder -> what the wrong situation puts there."""
    frame = vocabulary.frames[contrast.verb]
    return {
        "contrast_verb": contrast.verb,
        "contrast_definition": f" ({frame.definition})" if frame.definition else "",
        "contrast_sentence": frame.template,
        "contrast_roles": _wrong_lines(sample, contrast, vocabulary),
    }


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

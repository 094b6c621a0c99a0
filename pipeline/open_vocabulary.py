"""The verbs a student is asked about: those it was trained with, or any others, by their texts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cache.errors import UserError
from pipeline.frozen_encoders import open_label_text
from stages.data.verb_list import read_verb_list
from stages.data.vocabulary import VerbFrame, Vocabulary
from stages.plural import counted
from stages.reporter import Reporter
from stages.student.network.labels import LabelTexts, assemble_labels
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.label_texts import encode_labels, label_texts


@dataclass(frozen=True, slots=True)
class Asked:
    """Verbs with their roles and the noun classes, by name and as the vectors of their texts."""

    vocabulary: Vocabulary
    texts: LabelTexts


def trained_vocabulary(facts: Mapping[str, Any], texts: LabelTexts) -> Asked:
    """What the checkpoint itself knows; no text encoder is needed."""
    frames = {verb: VerbFrame(tuple(roles), "") for verb, roles in facts["verbs"].items()}
    return Asked(_with_nouns(frames, facts), texts)


def open_vocabulary(
    facts: Mapping[str, Any], texts: LabelTexts, path: Path, model: str, device: str, reporter: Reporter
) -> Asked:
    """The verbs of a file (see `read_verb_list`) beside the nouns that the checkpoint knows.

    texts   of the checkpoint's labels
    model   where the text encoder lies, "" = where it lay at training

    A calibrated student raises the verbs without training pictures here as it does among its own.

    Raises UserError for what is wrong with the file, where the text encoder is missing or another one, and
    where the student knows its verbs by number.
    """
    _require_text_queries(facts)
    wanted = read_verb_list(path)
    encoder, settings = open_label_text(facts, model, device)
    _tell_new(wanted, facts, path, reporter)
    verbs: dict[str, list[str]] = {}
    roles: dict[str, list[str]] = {}
    roles_of: list[range] = []
    for verb, frame in wanted.frames.items():
        sentences = _sentences(verb, frame, settings)
        verbs |= sentences["verbs"]
        roles_of.append(range(len(roles), len(roles) + len(frame.roles)))
        roles |= {f"{len(roles) + i}": lines for i, lines in enumerate(sentences["roles"].values())}
    with closing(encoder):
        of_verbs, of_roles = (torch.from_numpy(encode_labels(some, encoder)) for some in (verbs, roles))
    labels = assemble_labels(of_verbs, of_roles, roles_of, texts.noun)
    if texts.verb_bias is not None:
        unseen = [facts["subset_of"].get(verb, "unseen") == "unseen" for verb in wanted.verbs]
        labels = replace(labels, verb_bias=texts.verb_bias.max() * torch.tensor(unseen))
    return Asked(_with_nouns(wanted.frames, facts), labels)


def _require_text_queries(facts: Mapping[str, Any]) -> None:
    if facts["student"]["as_released"] or not facts["student"]["text_queries"]:
        raise UserError(
            f"this student knows its {len(facts['verbs'])} verbs by learned numbers, so it cannot be asked "
            "for others; train one with student.text_queries true and student.as_released false"
        )


def _with_nouns(frames: Mapping[str, VerbFrame], facts: Mapping[str, Any]) -> Vocabulary:
    roles = dict.fromkeys(role for frame in frames.values() for role in frame.roles)
    nouns = facts["nouns"]
    glosses = {noun: (gloss,) for noun, gloss in nouns.items()}
    return Vocabulary(tuple(frames), tuple(roles), tuple(nouns), frames, glosses)


def _sentences(verb: str, frame: VerbFrame, settings: EmbedSettings) -> dict[str, dict[str, list[str]]]:
    """Of one verb. Where nothing defines it, the templates that need a definition are left out.

    Naming its roles in their place was tried: 20.8 % of the demo's unseen verbs right against 25.0 %, both
    without calibration.
    """
    if not frame.definition and not frame.template:
        plain = [template for template in settings.verb_templates if "{definition" not in template]
        settings = settings.model_copy(update={"verb_templates": plain or ["{verb}"]})
    # One by one: over all verbs, a name with a slash could make two labels one.
    return label_texts(Vocabulary((verb,), frame.roles, (), {verb: frame}, {}), settings)


def _tell_new(wanted: Vocabulary, facts: Mapping[str, Any], path: Path, reporter: Reporter) -> None:
    """A mistyped name is a new one, and nothing else would show it."""
    seen = [verb for verb, subset in facts["subset_of"].items() if subset != "unseen"]
    roles = {role for verb in seen for role in facts["verbs"][verb]}
    for what, names, trained in (("verb", wanted.verbs, set(seen)), ("role", wanted.roles, roles)):
        new = [name for name in names if name not in trained]
        shown = ", ".join(map(repr, new[:5])) + (", ..." if len(new) > 5 else "")
        told = f"; not among those of training, so known by their text alone: {shown}" if new else ""
        reporter.say(f"{path}: {counted(len(names), what)}{told}")

"""An evaluation over other verbs than those of training: which pictures count, and as what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.errors import UserError
from stages.data.sample import Sample, Subset
from stages.data.vocabulary import Vocabulary
from stages.reporter import Reporter


def asked_samples(
    samples: Sequence[Sample], vocabulary: Vocabulary, path: Path, reporter: Reporter
) -> tuple[Sample, ...]:
    """The pictures whose annotated verb the file names, their roles in the file's order.

    Raises UserError where there is none, or the file gives such a verb other roles than the annotation has:
    no answer could then be right or wrong.
    """
    asked = tuple(
        _in_order(sample, vocabulary.frames[sample.verb].roles, path)
        for sample in samples
        if sample.verb in vocabulary.frames
    )
    if not asked:
        annotated = sorted({sample.verb for sample in samples})
        raise UserError(
            f"none of the {len(samples)} pictures is of a verb in {path}; their verbs are, for example, "
            f"{', '.join(map(repr, annotated[:5]))}: pictures are measured where the file names their verb"
        )
    if left := len(samples) - len(asked):
        reporter.say(f"note: {left} of {len(samples)} pictures are of verbs not in {path} and are left out")
    return asked


def _in_order(sample: Sample, roles: Sequence[str], path: Path) -> Sample:
    if sorted(sample.roles) != sorted(roles):
        raise UserError(
            f"{path}: verb {sample.verb!r} has the roles {', '.join(roles)}, but picture {sample.image!r} is "
            f"annotated with {', '.join(sample.roles)}; give the verb these roles to be measured on it"
        )
    places = [sample.roles.index(role) for role in roles]
    return replace(
        sample,
        roles=tuple(roles),
        nouns=tuple(sample.nouns[place] for place in places),
        boxes=tuple(sample.boxes[place] for place in places),
    )


def asked_subsets(vocabulary: Vocabulary, facts: Mapping[str, Any]) -> dict[str, Subset]:
    """What each verb was to the student at its training; a verb that it never had is unseen."""
    return {verb: facts["subset_of"].get(verb, "unseen") for verb in vocabulary.verbs}

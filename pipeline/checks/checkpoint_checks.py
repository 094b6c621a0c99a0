"""Whether a checkpoint and what it is measured on belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache.errors import UserError
from pipeline.workspace import Workspace
from stages.settings import changed_settings
from stages.student.reading.dataset import StoreDataset


def trained_on(facts: Mapping[str, Any]) -> str:
    """Fingerprint of the data set that a student was trained on."""
    fingerprint: str = facts["fingerprint"]["data"]
    return fingerprint


def other_data_notes(workspace: Workspace, facts: Mapping[str, Any], split: str) -> list[str]:
    """No error: to measure on a test set of one's own, or on corrected annotations, is sound."""
    trained, here = trained_on(facts), workspace.data.fingerprint
    if trained == here:
        return []
    return [
        f"note: the checkpoint was trained on data {trained}, {workspace.config.data.root} is {here}: "
        "another data set, or its annotations or split changed since. The figures are of this one's; they "
        f"mean what they say only if none of its {split} pictures was a training picture there"
    ]


def require_same_labels(workspace: Workspace, facts: Mapping[str, Any]) -> None:
    """The checkpoint's class numbers must be the data set's, or every figure would be of mixed-up labels."""
    vocabulary = workspace.data.vocabulary
    verbs = {verb: list(vocabulary.frames[verb].roles) for verb in vocabulary.verbs}
    for name, own, theirs in (
        ("verbs", list(facts["verbs"].items()), list(verbs.items())),
        ("nouns", list(facts["nouns"]), list(vocabulary.nouns)),
    ):
        if own != theirs:
            raise UserError(
                f"the checkpoint knows {len(own)} {name}, the data set {len(theirs)}, and they are not the "
                "same in the same order; evaluate on the data set it was trained on, or train again"
            )


def require_same_subsets(workspace: Workspace, facts: Mapping[str, Any]) -> None:
    """Under another split the table would count verbs as unseen that the student was trained on."""
    then, now = facts["subset_of"], workspace.data.subset_of
    moved = [verb for verb, subset in now.items() if then[verb] != subset]
    if moved:
        raise UserError(
            f"{len(moved)} verbs belong to another subset than when the checkpoint was trained, e.g. "
            f"{moved[0]!r} was {then[moved[0]]} and is {now[moved[0]]}: figures on unseen verbs would be of "
            "verbs it may have seen; put the settings of `data` back, or train again in another run_dir"
        )


def require_same_encoder(dataset: StoreDataset, facts: Mapping[str, Any]) -> None:
    """Tokens of another encoder mean nothing to the student, also where their shape is the same."""
    header = dataset.vision.header
    changed = changed_settings(
        {"encoder": facts["vision_encoder"], "geometry": facts["geometry"]},
        {"encoder": header.encoder, "geometry": dataset.geometry.to_json()},
    )
    if changed:
        listed = "\n".join(f"  {line}" for line in changed)
        raise UserError(
            f"bank {header.name!r} was made by another encoder than the checkpoint was trained on:\n"
            f"{listed}\nPut `embed.student_vision` back and run `mipd-pipe embed-teacher`, or train again in "
            "another run_dir"
        )

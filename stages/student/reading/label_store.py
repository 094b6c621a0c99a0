"""Label texts of a vocabulary, read from the store."""

from __future__ import annotations

import torch

from cache.errors import UserError
from cache.paths import StorePaths
from cache.vectors import Floats, read_labels
from stages.data.vocabulary import Vocabulary
from stages.student.network.labels import LabelTexts, assemble_labels


def read_label_texts(paths: StorePaths, vocabulary: Vocabulary) -> LabelTexts:
    """The text embeddings of all verbs, their roles and the nouns, in the vocabulary's order.

    Raises UserError where the store's labels are not this vocabulary's.
    """
    pairs = [f"{verb}/{role}" for verb in vocabulary.verbs for role in vocabulary.frames[verb].roles]
    place = {pair: i for i, pair in enumerate(pairs)}
    return assemble_labels(
        verb=torch.from_numpy(_vectors(paths, "verbs", list(vocabulary.verbs))),
        role=torch.from_numpy(_vectors(paths, "roles", pairs)),
        roles_of=[
            [place[f"{verb}/{role}"] for role in vocabulary.frames[verb].roles] for verb in vocabulary.verbs
        ],
        noun=torch.from_numpy(_vectors(paths, "nouns", list(vocabulary.nouns))),
    )


def _vectors(paths: StorePaths, family: str, expected: list[str]) -> Floats:
    labels, vectors = read_labels(paths, family)
    if labels != expected:
        odd = sorted(set(labels) ^ set(expected))[:3]
        what = f", e.g. {', '.join(map(repr, odd))}" if odd else ": the order differs"
        raise UserError(
            f"the store's {family} are not those of the data set{what}; "
            "embed them again with `mipd-pipe embed-teacher`"
        )
    return vectors.copy()

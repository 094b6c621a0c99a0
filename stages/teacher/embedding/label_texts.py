"""What the text encoder is given for each verb, role and noun."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stages.data.vocabulary import Vocabulary
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.encoders.encoder import Floats, TextEncoder

_ROLE_NAME = re.compile(r"\b[A-Z]{2,}\b")
_BATCH = 256


def verb_texts(verb: str, vocabulary: Vocabulary, templates: Sequence[str]) -> list[str]:
    """The sentences of one verb. Where the data set has no definition, its sentence template stands in."""
    frame = vocabulary.frames[verb]
    definition = frame.definition or _ROLE_NAME.sub(lambda name: name.group().lower(), frame.template)
    return [template.format(verb=_spoken(verb), definition=definition) for template in templates]


def label_texts(vocabulary: Vocabulary, settings: EmbedSettings) -> dict[str, dict[str, list[str]]]:
    """Family -> label -> sentences. A role's label is ``verb/role``: one role differs from verb to verb."""
    verbs = {verb: verb_texts(verb, vocabulary, settings.verb_templates) for verb in vocabulary.verbs}
    roles = {
        f"{verb}/{role}": [t.format(role=_spoken(role), verb=_spoken(verb)) for t in settings.role_templates]
        for verb in vocabulary.verbs
        for role in vocabulary.frames[verb].roles
    }
    nouns = {
        noun: [t.format(noun=_spoken(vocabulary.gloss(noun))) for t in settings.noun_templates]
        for noun in vocabulary.nouns
    }
    return {"verbs": verbs, "roles": roles, "nouns": nouns}


def encode_labels(texts: dict[str, list[str]], encoder: TextEncoder) -> Floats:
    """[N, E] unit vectors: the mean of each label's sentence vectors, normalised."""
    flat = [text for sentences in texts.values() for text in sentences]
    pooled = np.concatenate(
        [encoder.encode(flat[i : i + _BATCH]).pooled for i in range(0, len(flat), _BATCH)]
    )
    ends = np.cumsum([len(sentences) for sentences in texts.values()])
    means = np.stack([part.mean(axis=0) for part in np.split(pooled, ends[:-1])])
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(norms, 1e-12), dtype=np.float32)


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")

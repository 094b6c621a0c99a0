"""A teacher without a model: realises the four rationales from the annotation alone.

It is the default, runs anywhere, and serves as the baseline that a language model has to beat.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cache.keys import derive_number
from cache.kinds import KINDS, Kind
from stages.data.sample import Box, Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.role_nouns import annotated_nouns
from stages.teacher.asking.sentence import noun_phrase, sentence, to_words
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.judging.word_judge import word_verdicts

TEMPLATE_VERSION = 2  # enters the request key: raise it when the same request would get another answer

# What stands around a clause. No word here is in -ing form: it could be a verb of the vocabulary, and a
# rationale names no verb but its own.
_GLIMPSES = (
    "The picture as a whole shows the activity of {verb}: {clause}.",
    "In this scene {clause}, so what one sees here is {verb}.",
    "Seen as a whole this is a scene of {verb}, because {clause}.",
    "The scene tells of {verb}, for it shows that {clause}.",
)
_GLIMPSES_OF_NOBODY = (  # the clause has no subject: "snowing at a street"
    "The activity that the whole picture shows is {verb}: {clause}.",
    "What one sees in this scene is {verb}, more exactly {clause}.",
)
_INSTANCES = (
    "{noun} is the {role}, {where}.",
    "The {role} is {noun}, {where}.",
    "As {role} one sees {noun}, {where}.",
)
_NO_INSTANCE = (
    "No single person or thing stands out here in any role of {verb}.",
    "The picture names nobody and nothing for the roles of {verb}.",
)
_NOWHERE = "not tied to one spot"

_SMALL, _LARGE, _WHOLE = 0.08, 0.4, 0.85  # bounds on the share of the area


class TemplateEngine:
    """Answers every request at once, from its sample and contrast; the seed picks the wording.

    A negative glimpse gives the annotated nouns to the wrong verb: to the roles it shares, and those left
    over to its others, so that the nouns on both sides are the same as far as can be. A negative gaze puts
    the wrong nouns in the annotated places, and leaves what nothing is surely wrong for. The negative of an
    aspect has the wording of its positive, so that nothing but the content tells them apart.

    Asked for verdicts, it compares the texts with the annotation's words.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def identity(self) -> Mapping[str, Any]:
        return {"teacher": "template", "revision": str(TEMPLATE_VERSION), "sampling": {}}

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            yield Answer(request.key, json.dumps(self._fields(request), ensure_ascii=False), "stop")

    def close(self) -> None:
        """There is nothing to free."""

    def _fields(self, request: Request) -> dict[str, Any]:
        if request.judged:
            return word_verdicts(request, self._vocabulary)
        kinds = [kind for kind in KINDS if kind.field in request.schema["properties"]]
        return {kind.field: self._text(kind, request) for kind in kinds}

    def _text(self, kind: Kind, request: Request) -> str:
        sample, contrast, positive = request.sample, request.contrast, kind.polarity == "positive"
        verb, nouns = sample.verb, annotated_nouns(sample, self._vocabulary)
        if not positive:
            verb = contrast.verb
            wrong = nouns | dict(contrast.nouns) if contrast.nouns else {}
            nouns = self._given_to(verb, nouns) if kind.aspect == "glimpse" else wrong
        if kind.aspect == "glimpse":
            return self._glimpse(verb, nouns, request.seed)
        return self._gaze(verb, sample, nouns, request.seed)

    def _glimpse(self, verb: str, nouns: Mapping[str, str], seed: int) -> str:
        vocabulary = self._vocabulary
        glosses = {role: vocabulary.gloss(noun) for role, noun in nouns.items()}
        clause = sentence(verb, vocabulary.frames[verb], glosses, vocabulary.verb_index)
        somebody = not clause.startswith(to_words(verb)[0])
        wordings = _GLIMPSES if somebody else _GLIMPSES_OF_NOBODY
        return _one_of(wordings, seed, "glimpse").format(verb=verb, clause=clause)

    def _given_to(self, verb: str, nouns: Mapping[str, str]) -> dict[str, str]:
        roles = self._vocabulary.frames[verb].roles
        given = {role: nouns[role] for role in roles if role in nouns}
        free = [role for role in roles if role not in nouns]
        left = [noun for role, noun in nouns.items() if role not in given]
        return given | dict(zip(free, left, strict=False))

    def _gaze(self, verb: str, sample: Sample, nouns: Mapping[str, str], seed: int) -> str:
        if not nouns:
            return _one_of(_NO_INSTANCE, seed, "gaze").format(verb=verb)
        sentences = []
        for role, box in zip(sample.roles, sample.boxes, strict=True):
            if role in nouns:
                wording = _one_of(_INSTANCES, seed, "gaze", role)
                noun = noun_phrase(self._vocabulary.gloss(nouns[role]))
                where = _where(box, sample.width, sample.height) if box else _NOWHERE
                sentences.append(_capital(wording.format(noun=noun, role=role, where=where)))
        return " ".join(sentences)


def _where(box: Box, width: int, height: int) -> str:
    """Size and place in words: "small, at the bottom left of the picture"."""
    x1, y1, x2, y2 = box[0] / width, box[1] / height, box[2] / width, box[3] / height
    area = (x2 - x1) * (y2 - y1)
    if area > _WHOLE:
        return "across the whole picture"
    size = "small" if area < _SMALL else "large" if area > _LARGE else "of middle size"
    across = ("left", "", "right")[_third((x1 + x2) / 2)]
    down = ("top", "", "bottom")[_third((y1 + y2) / 2)]
    spot = " ".join(word for word in (down, across) if word) or "centre"
    return f"{size}, {'in' if spot == 'centre' else 'at'} the {spot} of the picture"


def _third(position: float) -> int:
    return min(2, max(0, int(position * 3)))


def _one_of(wordings: Sequence[str], *parts: str | int) -> str:
    return wordings[derive_number("wording", *parts) % len(wordings)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

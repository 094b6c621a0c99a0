"""A judge without a model: how much of what a rationale should speak of it names.

It looks at no picture and reads no sense: a baseline that a judging model has to beat, and the judge's whole
path where no model is at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cache.kinds import Kind
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.sentence import Words, finite_form, to_words
from stages.teacher.engines.engine import Contrast, Request

_LEAST_SCORE = 3
_FEWEST_LETTERS = 4  # a shorter word keeps its s: "gas", "bus"

Wanted = dict[str, frozenset[Words]]  # what should be named -> the words that name it, one suffices


def word_verdicts(request: Request, vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
    """The verdicts on `request.judged`, as its schema asks for them."""
    sample, contrast = request.sample, request.contrast
    return {
        kind.field: _verdict(text, _wanted(kind, sample, contrast, vocabulary))
        for kind, text in request.judged.items()
    }


def _verdict(text: str, wanted: Wanted) -> dict[str, Any]:
    """Score 1 where nothing of `wanted` is named, 5 where all is."""
    words = _singular(to_words(text))
    missing = [name for name, runs in wanted.items() if not any(_holds(words, run) for run in runs)]
    score = 1 + round(4 * (1 - len(missing) / len(wanted)))
    return {
        "reason": f"the text does not name {', '.join(missing)}" if missing else "",
        "score": score,
        "verdict": "accept" if score >= _LEAST_SCORE else "reject",
    }


def _wanted(kind: Kind, sample: Sample, contrast: Contrast, vocabulary: Vocabulary) -> Wanted:
    """The verb of a glimpse, the nouns of a gaze (the verb where no role is filled); a negative's are wrong.

    A glimpse need not name nouns: a negative one has the picture's own, and both sides are measured alike.
    """
    if kind.polarity == "positive":
        verb = sample.verb
        roles = zip(sample.roles, sample.nouns, strict=True)
        nouns = {role: [noun for noun in three if noun] for role, three in roles}
    else:
        verb = contrast.verb
        nouns = {role: [noun] for role, noun in contrast.nouns.items()}
    named = dict(_nouns(nouns, vocabulary)) if kind.aspect == "gaze" else {}
    return named or {verb: _verb(verb, vocabulary)}


def _nouns(nouns: Mapping[str, list[str]], vocabulary: Vocabulary) -> Iterable[tuple[str, frozenset[Words]]]:
    """One entry per filled role: any gloss of any annotator's noun names it."""
    for filled in nouns.values():
        if filled:
            glosses = [gloss for noun in filled for gloss in vocabulary.glosses.get(noun, (noun,))]
            yield glosses[0], frozenset(_singular(to_words(gloss)) for gloss in glosses)


def _verb(verb: str, vocabulary: Vocabulary) -> frozenset[Words]:
    """ "jumping" or "jumps"."""
    frame = vocabulary.frames.get(verb)
    forms = {verb, finite_form(verb, frame.template)} if frame else {verb}
    return frozenset(_singular(to_words(form)) for form in forms)


def _singular(words: Words) -> Words:
    return tuple(word[:-1] if word[-1] == "s" and len(word) >= _FEWEST_LETTERS else word for word in words)


def _holds(words: Words, run: Words) -> bool:
    return any(words[i : i + len(run)] == run for i in range(len(words) - len(run) + 1))

"""The rules that accept or reject a rationale against the annotation of its picture.

A word counts as the name of a verb only where it is not part of a noun that the annotation or the contrast
uses ("swimming pool" does not name swimming), and only in the form of the vocabulary: "building" names the
verb, "builds" does not, because many verbs are ordinary nouns in their short forms (boards, films, tears).
Where verbs are put together ("jumping-over-waving"), a verb and its sentence name shorter ones as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from cache.kinds import Kind
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.asking.sentence import Words, finite_form, to_words
from stages.teacher.engines.engine import Contrast
from stages.teacher.judging.form import form_fault
from stages.teacher.judging.judge_settings import JudgeSettings

JUDGE_VERSION = 2  # enters the request key: raise it when the same text would get another verdict

Found = tuple[int, str]  # position of its first word, what was found

_NEGATIONS: tuple[Words, ...] = (
    ("not",), ("no",), ("never",), ("without",), ("rather", "than"), ("instead", "of"), ("n", "t"),
)  # fmt: skip
# Between a form of "to be" and its participle: "is clearly jumping", "are both jumping".
_FILLERS = frozenset({"all", "also", "both", "busy", "each", "just", "now", "still", "together"})
_BE = frozenset({"is", "are", "was", "were", "be", "been", "being", "am", "s", "re"})
# "the activity is jumping" is caught by _BE; these catch "the activity of jumping", "an act of jumping".
_NAMING: tuple[Words, ...] = (("activity", "of"), ("act", "of"), ("action", "of"), ("scene", "of"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement. `score` is None where only rules judged; `reason` is empty where accepted."""

    accepted: bool
    score: int | None = None
    reason: str = ""


def judge(
    kind: Kind,
    text: str,
    sample: Sample,
    contrast: Contrast,
    vocabulary: Vocabulary,
    held_out: frozenset[str],
    settings: JudgeSettings,
    max_chars: int = 0,
) -> Verdict:
    """The first rule that `text` breaks, in the order form, leak, content.

    held_out   verbs that no rationale may name, because the student must not have met them: the unseen ones
    max_chars  the limit of the answer's schema, at which a text is cut; 0 = there was none
    """
    words = to_words(text)
    fault = form_fault(text, words, settings, max_chars)
    if fault is None:
        annotated = _glosses((noun for three in sample.nouns for noun in three if noun), vocabulary)
        wrong = _glosses(contrast.nouns.values(), vocabulary)
        named = _named(words, _runs(annotated + wrong), (sample.verb, contrast.verb), vocabulary)
        fault = _leak_fault(named, held_out)
        if fault is None and kind == Kind("glimpse", "positive"):
            fault = _wrong_activity(words, named, sample.verb)
        elif fault is None and kind == Kind("glimpse", "negative"):
            fault = _true_activity(words, named, sample.verb, contrast.verb, vocabulary)
        elif fault is None and kind == Kind("gaze", "negative"):
            fault = _true_nouns(words, annotated, wrong)
    return Verdict(fault is None, reason=fault or "")


def leaked_verb(
    text: str,
    nouns: Iterable[str],
    about: Iterable[str],
    vocabulary: Vocabulary,
    held_out: frozenset[str],
) -> str | None:
    """A held-out verb that a rationale names, or None.

    nouns  WordNet ids that the annotation or the contrast uses: their words name no verb
    about  the verb of the picture and its contrast
    """
    words = to_words(text)
    if _first_words(held_out).isdisjoint(words):  # true of nearly every text, and ten times faster
        return None
    named = _named(words, _runs(_glosses(nouns, vocabulary)), tuple(about), vocabulary)
    return min({verb for _, verb in named} & held_out, default=None)


def _named(words: Words, masked: _Runs, about: tuple[str, ...], vocabulary: Vocabulary) -> list[Found]:
    """Verbs that the words name, without those that the names in `about` are put together from."""
    found = list(_find(words, _runs(vocabulary.verbs), masked))
    if not found:
        return found
    implied = frozenset().union(*(_implied(verb, vocabulary) for verb in about)) - set(about)
    return [(start, verb) for start, verb in found if verb not in implied]


def _leak_fault(named: list[Found], held_out: frozenset[str]) -> str | None:
    leaked = min({verb for _, verb in named} & held_out, default=None)
    return f"the text names {leaked}, a verb that training must not see" if leaked else None


def _wrong_activity(words: Words, named: list[Found], true: str) -> str | None:
    """A positive glimpse that says another verb happens and nowhere affirms the true one.

    Naming others beside the true one is fine ("people standing by watch him jumping").
    """
    if true in _affirmed(words, named):
        return None
    others = sorted(verb for start, verb in named if verb != true and _is_predicate(words[:start]))
    return f"the text describes {others[0]}, not {true}" if others else None


def _true_activity(
    words: Words, named: list[Found], true: str, wrong: str, vocabulary: Vocabulary
) -> str | None:
    """A negative glimpse may name both ("as if diving, not jumping"), but not the true verb alone."""
    names_wrong = any(verb == wrong for _, verb in named)
    finite = finite_form(wrong, vocabulary.frames[wrong].template)
    if true in _affirmed(words, named) and not names_wrong and finite not in words:
        return f"the text describes {true}, the true activity, and does not name {wrong}"
    return None


def _affirmed(words: Words, named: list[Found]) -> set[str]:
    """Verbs named other than in "not jumping" or "rather than jumping"."""
    return {verb for start, verb in named if not _ends_with(words[:start], _NEGATIONS)}


def _true_nouns(words: Words, annotated: tuple[str, ...], wrong: tuple[str, ...]) -> str | None:
    """A negative gaze that names annotated nouns and none of the wrong ones describes what is there."""
    found = [gloss for _, gloss in _find(words, _runs(annotated + wrong), _NOTHING)]
    if wrong and found and not set(found) & set(wrong):
        return f"the text names {found[0]}, which is right, and none of the wrong nouns"
    return None


@lru_cache(maxsize=8)
def _first_words(verbs: frozenset[str]) -> frozenset[str]:
    return frozenset(word for verb in verbs for word in to_words(verb)[:1])


def _implied(verb: str, vocabulary: Vocabulary) -> frozenset[str]:
    return _made_of(verb, vocabulary.frames[verb].template, vocabulary.verbs)


@lru_cache(maxsize=4096)
def _made_of(verb: str, template: str, verbs: tuple[str, ...]) -> frozenset[str]:
    """Verbs that share a word with `verb` and have no word beyond its name and its template."""
    own = set(to_words(verb))
    words = own | set(re.findall(r"\b[a-z]+\b", template))
    return frozenset(
        other for run, other in _runs(verbs).names.items() if own & set(run) and words >= set(run)
    )


def _glosses(nouns: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    known = vocabulary.glosses
    return tuple(dict.fromkeys(gloss for noun in nouns for gloss in known.get(noun, (noun,))))


class _Runs:
    """Names by their words. `longest`: first word -> how many words the longest name that starts so has.

    Few words of a text start a name, and only from those is there anything to compare.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: dict[Words, str] = {to_words(name): name for name in names}
        self.longest: dict[str, int] = {}
        for run in filter(None, self.names):
            self.longest[run[0]] = max(len(run), self.longest.get(run[0], 0))


_NOTHING = _Runs(())


@lru_cache(maxsize=32)  # the vocabulary's verbs, and the nouns of the few pictures judged at the moment
def _runs(names: tuple[str, ...]) -> _Runs:
    return _Runs(names)


def _find(words: Words, wanted: _Runs, masked: _Runs) -> Iterator[Found]:
    """Every longest run of words in `wanted`, from the left; runs in `masked` hide what they cover."""
    start = 0
    while start < len(words):
        word = words[start]
        longest = max(wanted.longest.get(word, 0), masked.longest.get(word, 0))
        if not longest:
            start += 1
            continue
        runs = (words[start : start + size] for size in range(longest, 0, -1))
        run = next((run for run in runs if run in masked.names or run in wanted.names), (word,))
        if run in wanted.names and run not in masked.names:
            yield start, wanted.names[run]
        start += len(run)


def _is_predicate(before: Words) -> bool:
    """Whether what stands before a participle makes it the activity: "is (now) ...", "the act of ..."."""
    while before and (before[-1] in _FILLERS or before[-1].endswith("ly")):
        before = before[:-1]
    return bool(before) and (before[-1] in _BE or _ends_with(before, _NAMING))


def _ends_with(words: Words, endings: tuple[Words, ...]) -> bool:
    return any(words[-len(ending) :] == ending for ending in endings)

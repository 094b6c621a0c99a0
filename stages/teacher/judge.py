"""The rules that accept or reject a rationale against the annotation of its picture.

A word counts as the name of a verb only where it is not part of a noun that the annotation or the contrast
uses ("swimming pool" does not name swimming), and only in the form of the vocabulary: "building" names the
verb, "builds" does not, because many verbs are ordinary nouns in their short forms (boards, films, tears).
Where verbs are put together ("jumping-over-waving"), a verb and its sentence name shorter ones as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cache.kinds import Kind
from stages.data.sample import Sample
from stages.data.vocabulary import Vocabulary
from stages.teacher.engine import Contrast
from stages.teacher.sentence import Words, finite_form, to_words
from stages.teacher.settings import JudgeSettings

JUDGE_VERSION = 1  # enters the request key: raise it when the same text would get another verdict

Found = tuple[int, str]  # position of its first word, what was found

_REFUSAL = re.compile(
    r"\bas an ai\b|\bi(?:'m| am) (?:sorry|unable|not able)\b|\bi (?:cannot|can'?t|can not|won'?t)\b"
    r"|\bcannot (?:assist|comply|help with)\b|\b(?:image|picture) (?:was|is) not provided\b"
    r"|\bno (?:image|picture) (?:was|is) provided\b",
    re.IGNORECASE,
)
_NEGATIONS: tuple[Words, ...] = (
    ("not",), ("no",), ("never",), ("without",), ("rather", "than"), ("instead", "of"), ("n", "t"),
)  # fmt: skip
# Between a form of "to be" and its participle: "is clearly jumping", "are both jumping".
_FILLERS = frozenset({"all", "also", "both", "busy", "each", "just", "now", "still", "together"})
_BE = frozenset({"is", "are", "was", "were", "be", "been", "being", "am", "s", "re"})
# "the activity is jumping" is caught by _BE; these catch "the activity of jumping", "an act of jumping".
_NAMING: tuple[Words, ...] = (("activity", "of"), ("act", "of"), ("action", "of"), ("scene", "of"))
_LOOP = re.compile(r"(?:^| )((?:\S+ ){2,11}\S+)(?: \1){2}(?= |$)")  # 3 to 12 words, three times on end
_STUTTER = re.compile(r"(?:^| )(\S+(?: \S+)?)(?: \1){4}(?= |$)")  # 1 or 2 words, five times on end
_LEAST_NEW = 0.35  # a text whose runs of four words are less distinct than this goes in circles
_FEWEST_RUNS = 12  # below this a share says nothing


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
) -> Verdict:
    """The first rule that `text` breaks, in the order form, leak, content.

    held_out  verbs that no rationale may name, because the student must not have met them: the unseen ones
    """
    words = to_words(text)
    fault = _form_fault(text, words, settings)
    if fault is None:
        annotated = _noun_runs((noun for three in sample.nouns for noun in three if noun), vocabulary)
        wrong = _noun_runs(contrast.nouns.values(), vocabulary)
        named = _named(words, annotated | wrong, (sample.verb, contrast.verb), vocabulary)
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
    named = _named(words, _noun_runs(nouns, vocabulary), tuple(about), vocabulary)
    return min({verb for _, verb in named} & held_out, default=None)


def _named(
    words: Words, masked: Mapping[Words, str], about: tuple[str, ...], vocabulary: Vocabulary
) -> list[Found]:
    """Verbs that the words name, without those that the names in `about` are put together from."""
    implied = frozenset().union(*(_implied(verb, vocabulary) for verb in about)) - set(about)
    found = _find(words, _verb_runs(vocabulary.verbs), masked)
    return [(start, verb) for start, verb in found if verb not in implied]


def _form_fault(text: str, words: Words, settings: JudgeSettings) -> str | None:
    if not words:
        return "the text is empty"
    if len(words) < settings.min_words:
        return f"the text has {len(words)} words, fewer than {settings.min_words}"
    if len(words) > settings.max_words:
        return f"the text has {len(words)} words, more than {settings.max_words}"
    if _REFUSAL.search(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        return "the text refuses to answer"
    if _goes_in_circles(words):
        return "the text repeats itself"
    return None


def _goes_in_circles(words: Words) -> bool:
    line = " ".join(words)
    if _LOOP.search(line) or _STUTTER.search(line):
        return True
    runs = [words[i : i + 4] for i in range(len(words) - 3)]
    return len(runs) >= _FEWEST_RUNS and len(set(runs)) / len(runs) < _LEAST_NEW


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


def _true_nouns(words: Words, annotated: dict[Words, str], wrong: dict[Words, str]) -> str | None:
    """A negative gaze that names annotated nouns and none of the wrong ones describes what is there."""
    found = [gloss for _, gloss in _find(words, annotated | wrong, {})]
    if wrong and found and not set(found) & set(wrong.values()):
        return f"the text names {found[0]}, which is right, and none of the wrong nouns"
    return None


@lru_cache(maxsize=8)
def _verb_runs(verbs: tuple[str, ...]) -> Mapping[Words, str]:
    return {to_words(verb): verb for verb in verbs}


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
        other for run, other in _verb_runs(verbs).items() if own & set(run) and words >= set(run)
    )


def _noun_runs(nouns: Iterable[str], vocabulary: Vocabulary) -> dict[Words, str]:
    return {to_words(gloss): gloss for noun in nouns for gloss in vocabulary.glosses.get(noun, (noun,))}


def _find(words: Words, wanted: Mapping[Words, str], masked: Mapping[Words, str]) -> Iterator[Found]:
    """Every longest run of words in `wanted`, from the left; runs in `masked` hide what they cover."""
    longest = max((len(run) for run in (*wanted, *masked)), default=0)
    start = 0
    while start < len(words):
        runs = (words[start : start + size] for size in range(longest, 0, -1))
        run = next((run for run in runs if run in masked or run in wanted), words[start : start + 1])
        if run in wanted and run not in masked:
            yield start, wanted[run]
        start += len(run)


def _is_predicate(before: Words) -> bool:
    """Whether what stands before a participle makes it the activity: "is (now) ...", "the act of ..."."""
    while before and (before[-1] in _FILLERS or before[-1].endswith("ly")):
        before = before[:-1]
    return bool(before) and (before[-1] in _BE or _ends_with(before, _NAMING))


def _ends_with(words: Words, endings: tuple[Words, ...]) -> bool:
    return any(words[-len(ending) :] == ending for ending in endings)

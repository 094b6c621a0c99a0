"""Faults of a rationale that show without its picture: empty, refused, marked up, repeated, cut, foreign."""

from __future__ import annotations

import re
from operator import eq

from stages.teacher.asking.sentence import Words
from stages.teacher.judging.judge_settings import JudgeSettings
from stages.teacher.judging.language import foreign_language

_REFUSAL = re.compile(
    r"\bas an ai\b|\bi(?:'m| am) (?:sorry|unable|not able|an ai)\b|\bi (?:cannot|can'?t|can not|won'?t)\b"
    r"|\bi (?:do not|don'?t) (?:have|see) (?:access|the ability|an? (?:image|picture)|any (?:image|picture))"
    r"|\bcannot (?:assist|comply|help with)\b|\b(?:image|picture) (?:was|is) not provided\b"
    r"|\bno (?:image|picture) (?:was|is) provided\b",
    re.IGNORECASE,
)
_REFUSAL_WORDS = frozenset({"ai", "cannot", "i", "provided"})  # every alternative above needs one of them
# What a rationale is never written with: tags and a chat template's tokens, entities, a backslash (LaTeX,
# escapes spelled out), braces, code marks, bold, links, headings, table rules, bullets.
_MARKUP = re.compile(
    r"<[^<>\s][^<>]*>|&(?:#\d+|#x[0-9a-f]+|[a-z]{2,8});|\\|[{}`]|\*\*|__|(?<!\w)\*\w[^*]*\w\*(?!\w)|\]\(|\$\$"
    r"|\[/?INST\]|\|\s*:?-{3,}|(?:^| )#{1,6} |\u2022",
    re.IGNORECASE,
)
_LISTED = re.compile(r"(?:[-*+]|\d{1,2}[.)]) ")  # a bullet or a number in front
_UNREADABLE = re.compile(r"[\ufffd\ue000-\uf8ff]")  # bytes that were no character; private use
# One of these is in all that _MARKUP and _UNREADABLE look for, and to look for it is ten times faster.
_SUSPECT = re.compile(r"[<&\\{}`*_\]\[$|#\u2022\ufffd\ue000-\uf8ff]")
_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f\u0964\u061f\"')]\u201d\u2019\u00bb\u300d\u300f\uff09")
_OPEN_ENDS = frozenset(",;:-(\u2013\u2014\uff0c\u3001\uff1a\uff1b")
# A sentence cannot end in these, whatever its length; of prepositions it can ("the wall he leans against").
_OPEN_WORDS = frozenset({"a", "an", "and", "because", "of", "or", "the", "whose"})
_NEAR_LIMIT = 0.95  # of the schema's length; cleaning may have taken a few characters away
_LEAST_NEW = 0.35  # a text whose runs of four words are less distinct than this goes in circles
_FEWEST_RUNS = 12  # below this a share says nothing
_LONGEST_LOOP = 12  # words


def form_fault(text: str, words: Words, settings: JudgeSettings, max_chars: int = 0) -> str | None:
    """The first fault of a cleaned text, or None.

    words      `to_words(text)`
    max_chars  the schema's limit, at which a text is cut in mid-word; 0 = there was none

    Raises UserError where `settings.language` is one that cannot be told.
    """
    if not words:
        return "the text is empty"
    if not _REFUSAL_WORDS.isdisjoint(words) and _REFUSAL.search(text.replace("\u2019", "'")):
        return "the text refuses to answer"
    if fault := _markup_fault(text):
        return fault
    if _goes_in_circles(words):
        return "the text repeats itself"
    if _is_cut(text, words, settings.language, max_chars):
        return "the text is cut off in the middle of a sentence"
    if found_language := foreign_language(text, settings.language):
        return f"the text is in another language ({found_language}) than {settings.language}"
    return _length_fault(words, settings)


def _markup_fault(text: str) -> str | None:
    suspect = _SUSPECT.search(text)
    if suspect and _UNREADABLE.search(text):
        return "the text holds characters that cannot be read"
    found = _LISTED.match(text) or (suspect and _MARKUP.search(text))
    if found:
        return f"the text holds markup ({found.group().strip()[:20]!a}); plain sentences are wanted"
    return None


def _length_fault(words: Words, settings: JudgeSettings) -> str | None:
    if len(words) < settings.min_words:
        return f"the text has {len(words)} words, fewer than {settings.min_words}"
    if len(words) > settings.max_words:
        return f"the text has {len(words)} words, more than {settings.max_words}"
    return None


def _goes_in_circles(words: Words) -> bool:
    """Whether a run of up to 12 words comes three times on end (a short one: five), or most come again."""
    threes = list(zip(words, words[1:], words[2:], strict=False))
    if len(set(threes)) == len(threes):  # true of most texts, and whatever repeats has a three twice
        return False
    for size in range(1, min(_LONGEST_LOOP, len(words) // 3) + 1):
        repeats = (5 if size < 3 else 3) - 1
        same = bytes(map(eq, words, words[size:]))  # 1 where a word is the one `size` before it
        if b"\1" * (size * repeats) in same:
            return True
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return len(runs) >= _FEWEST_RUNS and len(set(runs)) / len(runs) < _LEAST_NEW


def _is_cut(text: str, words: Words, language: str, max_chars: int) -> bool:
    if text[-1] in _ENDS:
        return False
    if text[-1] in _OPEN_ENDS or (language == "en" and words[-1] in _OPEN_WORDS):
        return True
    return 0 < max_chars * _NEAR_LIMIT <= len(text)

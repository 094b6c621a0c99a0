"""English from an annotation: a verb's sentence template with nouns in place of its roles.

``AGENT jumps from SOURCE over OBSTACLE into DESTINATION at PLACE`` becomes "a man is jumping from a cliff
into water outdoors" where nobody named an obstacle: words that only lead to an unfilled role go with it.
Templates come from the data set and hold oddities ("AGENT rides then VEHICLE", "AGENT cilngs to CLUNGTO"),
so the verb's own form is replaced by its name, which is spelled rightly.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from stages.data.vocabulary import VerbFrame

# Words that lead to a role and mean nothing without it.
_LEADING = frozenset(
    {"a", "above", "across", "after", "against", "along", "an", "and", "around", "as", "at", "avoid"}
    | {"because", "behind", "below", "beside", "between", "by", "doing", "down"}
    | {"for", "from", "in", "inside", "into", "its", "next", "of", "off", "on", "onto", "out", "over", "the"}
    | {
        "their",
        "then",
        "through",
        "to",
        "toward",
        "towards",
        "under",
        "up",
        "upon",
        "using",
        "with",
        "within",
    }
)
_ARTICLES = frozenset({"a", "an", "the", "then"})  # "then": a slip for "the" in one of SWiG's templates
_ADVERBS = frozenset({"outdoors", "outside", "indoors", "inside"})  # nouns of places that take no "at"
_PLURALS = frozenset(
    {"cattle", "children", "feet", "geese", "men", "mice", "people", "police", "teeth", "women"}
)
_SINGULAR_S = re.compile(r"(?:ss|us|is|as|ics|ous|news|lens)$")
_UNCOUNTED = frozenset(
    {"air", "apparel", "blood", "bread", "butter", "clothing", "dirt", "dust", "equipment", "fire", "food"}
    | {"furniture", "glue", "grass", "hair", "ice", "land", "makeup", "meat", "milk", "money", "mud", "music"}
    | {"nature", "oil", "paint", "paper", "rain", "rice", "sand", "skin", "smoke", "snow", "soap", "soil"}
    | {"water", "wheat", "wine", "wood", "wool"}
)
_LIKE_A = re.compile(r"uni(?!n|mp)|use|util|eu|one\b")  # a vowel in writing, a consonant in speech
_LIKE_AN = re.compile(r"hour|heir|hono|honest")


_WORD = re.compile(r"[^\W_]+")

Words = tuple[str, ...]


def to_words(text: str) -> Words:
    """Lower-case words without punctuation: ``"Race-horse's"`` is race, horse, s."""
    return tuple(_WORD.findall(text.casefold()))


def finite_form(verb: str, template: str) -> str:
    """The form of a verb in its own template ("jumps"), or the verb itself where the template has none."""
    words = re.findall(r"\b[a-z]+\b", template)
    return words[0] if words and words[0][:3] == verb[:3] else verb


@dataclass(frozen=True, slots=True)
class _Part:
    """A role with the words that lead to it, or plain words where `role` is empty."""

    lead: Words
    role: str


def is_plural(gloss: str) -> bool:
    """Whether the gloss wants "are": "scissors", "people"; a rule of thumb, not a dictionary."""
    last = _head(gloss)
    ends_so = last.endswith("s") and len(last) > 3 and not _SINGULAR_S.search(last)
    return last in _PLURALS or (ends_so and last not in _ADVERBS)


def _head(gloss: str) -> str:
    """The word that decides: the last, or the one before "of" ("body of water")."""
    words = gloss.lower().split(" of ")[0].split()
    return words[-1] if words else ""


def noun_phrase(gloss: str) -> str:
    """The gloss with "a" or "an" where English wants one: "a horse", "an hour", "water", "people"."""
    word = gloss.lower()
    if is_plural(gloss) or _head(gloss) in _UNCOUNTED | _ADVERBS or gloss[:1].isupper():
        return gloss
    vowel = word[:1] in "aeiou" and not _LIKE_A.match(word)
    return f"{'an' if vowel or _LIKE_AN.match(word) else 'a'} {gloss}"


def sentence(verb: str, frame: VerbFrame, fillers: Mapping[str, str], verbs: Container[str]) -> str:
    """What happens, as a clause without capital or full stop.

    fillers  role -> gloss of the filled roles
    verbs    all verbs of the vocabulary; a template's words that are another verb's name are left out, so
             that a sentence names one verb ("AGENT unlocks CONTAINER opening LOCK")
    """
    own = to_words(verb)
    words = [word for word in _template_words(verb, frame) if word in own or word not in verbs]
    subject = words.pop(0).lower() if words and _is_role(words[0]) else ""
    head = words.pop(0) if words and not _is_role(words[0]) else verb
    parts = _without_unfilled(_parts(verb, words), fillers)
    rest = _spelled(parts, fillers)
    if own[0].endswith("ing"):  # of a name put together, "jumping-over", the template holds the rest
        be = "are" if is_plural(fillers.get(subject, "")) else "is"
        head = f"{be} {own[0]}" if subject in fillers else own[0]
    who = [noun_phrase(fillers[subject])] if subject in fillers else []
    return " ".join([*who, head, *rest])


def _template_words(verb: str, frame: VerbFrame) -> list[str]:
    """The template's words; one made of the roles alone where the data set has no template."""
    if frame.template.strip():
        return re.findall(r"[\w'-]+", frame.template)
    first, *others = (role.upper() for role in frame.roles)
    led = [("at" if role == "PLACE" else "with", role) for role in others]
    return [first, *to_words(verb), *(word for pair in led for word in pair)]


def _is_role(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _parts(verb: str, words: Sequence[str]) -> list[_Part]:
    """Splits what follows the verb into roles with their leading words and plain words between them."""
    parts: list[_Part] = []
    lead: list[str] = []
    for word in words:
        if _is_role(word):
            parts.append(_Part(tuple(w for w in lead if w not in _ARTICLES), word.lower()))
            lead = []
        elif word in _LEADING:
            lead.append(word)
        else:
            # "tills soil with TOOL" keeps its soil; "extracts fish" and "to pitch" only repeat the verb.
            plain = () if verb.startswith(word) else (*lead, word)
            parts.append(_Part(plain, ""))
            lead = []
    return [part for part in parts if part.role or part.lead]


def _without_unfilled(parts: Sequence[_Part], fillers: Mapping[str, str]) -> list[_Part]:
    """Drops unfilled roles; what "and" joined to a dropped one takes over its leading words."""
    kept: list[_Part] = []
    orphaned: Words = ()
    for part in parts:
        if part.lead[:1] == ("and",) and orphaned:
            part = replace(part, lead=orphaned)
        orphaned = ()
        if not part.role or part.role in fillers:
            kept.append(part)
        else:
            orphaned = part.lead
    if kept and kept[0].role and kept[0].lead[:1] in {("of",), ("and",)}:
        kept[0] = replace(kept[0], lead=kept[0].lead[1:])  # "strikes AGENTPART of COAGENT" without the part
    return kept


def _spelled(parts: Sequence[_Part], fillers: Mapping[str, str]) -> list[str]:
    spelled: list[str] = []
    before: _Part | None = None
    for part in parts:
        lead = part.lead
        if not part.role:
            spelled += lead
        elif not lead and before is not None and before.role and not before.lead:
            spelled[-1] += f"'s {fillers[part.role]}"  # "punching VICTIM BODYPART": a man's face
        else:
            if not lead and before is not None and before.role:
                lead = ("and",)
            gloss = fillers[part.role]
            if lead in {("at",), ("in",)} and gloss in _ADVERBS:
                lead = ()
            spelled += [*lead, gloss if lead[-1:] in {("its",), ("their",)} else noun_phrase(gloss)]
        before = part
    return spelled

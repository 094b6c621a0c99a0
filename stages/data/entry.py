"""Turns one entry of an annotation file into a sample, or says why it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache.kinds import KINDS, Kind
from stages.data.boxes import LARGEST, read_box
from stages.data.json_file import RepeatedKeys
from stages.data.names import is_storable, nearest, short
from stages.data.problem import EntryError
from stages.data.sample import ANNOTATORS, Box, Sample, Split
from stages.data.vocabulary import Vocabulary
from stages.data.vocabulary_files import NOUN

KEYS = ("verb", "height", "width", "bb", "frames")
# Ov-SWiG calls the glimpse the verb's caption and the gaze the attributes' caption.
CAPTION_KEYS: Mapping[Kind, str] = {
    Kind("glimpse", "positive"): "pos_verb_caption",
    Kind("glimpse", "negative"): "neg_verb_caption",
    Kind("gaze", "positive"): "pos_attr_caption",
    Kind("gaze", "negative"): "neg_attr_caption",
}
MAX_NAME_BYTES = 255  # what file systems allow, and below the 511 bytes of an LMDB key

Nouns = tuple[str, str, str]


class EntryReader:
    """Reads entries against one vocabulary. Keeps one copy of each noun: a data set has millions."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._frames = vocabulary.frames
        self._nouns: dict[str, str] = {"": ""}
        self._unknown_verbs: dict[str, str] = {}

    def read(self, image: str, entry: object, split: Split) -> tuple[Sample, list[str]]:
        """The sample and its notes (a clipped box, a caption left out). Raises EntryError."""
        check_image_name(image)
        fields = _fields(entry)
        verb = self._verb(fields["verb"])
        roles = self._frames[verb].roles
        width, height = _side(fields, "width"), _side(fields, "height")
        boxes, notes = _boxes(fields["bb"], verb, roles, width, height)
        captions, caption_notes = _captions(fields)
        sample = Sample(
            image=image,
            split=split,
            verb=verb,
            width=width,
            height=height,
            roles=roles,
            nouns=self._frame_nouns(fields["frames"], verb, roles),
            boxes=boxes,
            captions=captions,
        )
        return sample, notes + caption_notes

    def _verb(self, verb: object) -> str:
        if not isinstance(verb, str):
            raise EntryError(f"verb {short(verb)} is not a name but a {type(verb).__name__}")
        if verb not in self._frames:
            # Searching the nearest of 504 names takes a millisecond: too long to do for 75,000 entries.
            if verb not in self._unknown_verbs:
                self._unknown_verbs[verb] = nearest(verb, self._frames)
            raise EntryError(
                f"verb {short(verb)} is not one of the {len(self._frames)} verbs of verb_indices.txt"
                f"{self._unknown_verbs[verb]}"
            )
        return verb

    def _frame_nouns(self, frames: object, verb: str, roles: tuple[str, ...]) -> tuple[Nouns, ...]:
        """[R][3] nouns by role, from the three annotators' frames."""
        if not isinstance(frames, list) or len(frames) != ANNOTATORS:
            found = f"{len(frames)} frames" if isinstance(frames, list) else short(frames)
            raise EntryError(f'"frames" is {found}; expected a list of {ANNOTATORS}, one per annotator')
        for number, frame in enumerate(frames, start=1):
            _check_roles(frame, f"frame {number}", verb, roles)
        return tuple(
            (
                self._noun(frames[0][role], role),
                self._noun(frames[1][role], role),
                self._noun(frames[2][role], role),
            )
            for role in roles
        )

    def _noun(self, noun: object, role: str) -> str:
        try:
            return self._nouns[noun]  # type: ignore[index]
        except (KeyError, TypeError):
            if not isinstance(noun, str) or not NOUN.fullmatch(noun):
                raise EntryError(
                    f"noun {short(noun)} of the role {role!r} is no WordNet id such as 'n02374451' "
                    "(or '' for a role that is not filled)"
                ) from None
            return self._nouns.setdefault(noun, noun)


def check_image_name(image: str) -> None:
    """Raises EntryError for a name that is no plain file name: it would leave the pictures folder."""
    if not image.strip():
        raise EntryError(f"image name {image!r} is empty; expected the file name of a picture")
    if "/" in image or "\\" in image or image in (".", ".."):
        raise EntryError(
            f"image name {short(image)} has a path in it; "
            "expected a plain file name inside the pictures folder"
        )
    if not image.isprintable():
        raise EntryError(
            f"image name {short(image)} has characters that cannot be printed; rename the picture"
        )
    if len(image.encode()) > MAX_NAME_BYTES:
        size = len(image.encode())
        raise EntryError(
            f"image name {short(image)} has {size} bytes; at most {MAX_NAME_BYTES} fit a file name"
        )


def _fields(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise EntryError(f"entry is {short(entry)}; expected an object with {', '.join(KEYS)}")
    if isinstance(entry, RepeatedKeys):
        raise EntryError(f"the key {next(iter(entry.repeats))!r} stands twice in the entry; which one holds?")
    missing = [key for key in KEYS if key not in entry]
    if missing:
        raise EntryError(f"lacks the key {', '.join(map(repr, missing))}; an entry has {', '.join(KEYS)}")
    return entry


def _side(fields: Mapping[str, Any], key: str) -> int:
    value = fields[key]
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise EntryError(f"{key} {short(value)} is not a whole number of pixels from 1 to {LARGEST}")
    return value


def _check_roles(found: object, where: str, verb: str, roles: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise EntryError(f"{where} is {short(found)}; expected an object with the roles {', '.join(roles)}")
    if isinstance(found, RepeatedKeys):
        raise EntryError(f"{where}: the role {next(iter(found.repeats))!r} stands twice")
    if found.keys() == set(roles):
        return
    expected = f"the verb {verb!r} has {', '.join(roles)}"
    for role in found:
        if role not in roles:
            raise EntryError(f"{where}: unknown role {short(role)}; {expected}{nearest(role, roles)}")
    missing = next(role for role in roles if role not in found)
    raise EntryError(f"{where}: lacks the role {missing!r}; {expected}")


def _boxes(
    found: object, verb: str, roles: tuple[str, ...], width: int, height: int
) -> tuple[tuple[Box | None, ...], list[str]]:
    _check_roles(found, "bb", verb, roles)
    assert isinstance(found, dict)
    boxes: list[Box | None] = []
    notes: list[str] = []
    for role in roles:
        try:
            box, clipped = read_box(found[role], width, height)
        except EntryError as reason:
            raise EntryError(f"role {role!r}: {reason}") from None
        if clipped:
            notes.append(
                f"role {role!r}: box {found[role]} lies partly outside the picture of {width} x {height} "
                "pixels; clipped to it"
            )
        boxes.append(box)
    return tuple(boxes), notes


def _captions(fields: Mapping[str, Any]) -> tuple[tuple[str, str, str, str] | None, list[str]]:
    """Ready-made texts in the order of KINDS; a damaged one is left out, its sample stays usable."""
    if fields.keys().isdisjoint(CAPTION_KEYS.values()):
        return None, []
    texts: list[str] = []
    notes: list[str] = []
    for kind in KINDS:
        text = fields.get(CAPTION_KEYS[kind], "")
        if not isinstance(text, str) or not is_storable(text):
            notes.append(f"{CAPTION_KEYS[kind]} {short(text)} is not text; left out")
            text = ""
        texts.append(text.strip())
    if not any(texts):
        return None, notes
    return (texts[0], texts[1], texts[2], texts[3]), notes

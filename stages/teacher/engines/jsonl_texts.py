"""Rationales that somebody else wrote, from a file with one JSON object a line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.kinds import KINDS
from stages.data.json_file import RepeatedKeys, json_object
from stages.data.names import is_storable, nearest, short
from stages.data.swig import DataSet
from stages.plural import counted
from stages.printable import printable

Texts = tuple[str, str, str, str]  # ordered as KINDS; "" = none

TOLD = 20  # lines that a message names; what they have in common is seen by then
_FIELDS = [kind.field for kind in KINDS]
_KINDS = ("positive_", "negative_")
_WIDE = ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))


@dataclass(frozen=True, slots=True)
class TextLine:
    """The texts of one picture, and the line of the file that they stand in, from 1."""

    number: int
    texts: Texts


class _LineError(ValueError):
    """One line cannot be used: what it holds, why that is not enough, and what to write instead."""


def read_jsonl(path: Path) -> dict[str, TextLine]:
    """Image -> its line. A line is ``{"image": "a.jpg", "positive_glimpse": "...", ...}``, in UTF-8.

    A kind that is missing, null or blank has no text; fields that are called like no kind are left alone, and
    so are empty lines, a byte order mark and the line ends of Windows. Raises UserError for a file that
    cannot be read, and for all lines that cannot be used at once, the first `TOLD` of them by number.
    """
    found: dict[str, TextLine] = {}
    faults: list[str] = []
    for number, line in _lines(path):
        try:
            image, texts = _read_line(line)
            if image in found:
                before = found[image].number
                raise _LineError(
                    f"image {short(image)} stands in line {before} already; keep one line of the two"
                )
            found[image] = TextLine(number, texts)
        except _LineError as reason:
            faults.append(f"  {path}:{number}: {printable(str(reason))}")
    if faults:
        raise UserError(_refusal(path, faults, len(found)))
    return found


def _refusal(path: Path, faults: list[str], usable: int) -> str:
    some = faults[:TOLD]
    if len(faults) > TOLD:
        some.append(f"  ... and {counted(len(faults) - TOLD, 'more line')}")
    return (
        f"teacher.jsonl {path}: {counted(len(faults), 'line')} cannot be used, beside {usable} that can; "
        "nothing was imported\n"
        + "\n".join(some)
        + "\nmend or remove these lines, then run the same command again"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that is not empty."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    _refuse_wide(path, line)
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    yield number, line
    except OSError as reason:
        raise UserError(
            f"teacher.jsonl {path} cannot be read ({reason.strerror}); give a UTF-8 file with one JSON "
            "object a line"
        ) from None


def _refuse_wide(path: Path, line: bytes) -> None:
    """Two bytes a letter: every line would be wrong in the same way."""
    for mark, name in _WIDE:
        if line.startswith(mark):
            raise UserError(
                f"teacher.jsonl {path} begins with the mark of {name}; only UTF-8 is read: "
                f"`iconv -f {name} -t UTF-8 {path} > NEW`, and give the new file"
            )


def _read_line(line: bytes) -> tuple[str, Texts]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as reason:
        bad = line[reason.start : reason.end].hex(" ")
        raise _LineError(
            f"byte {reason.start + 1} of the line ({bad}) is not UTF-8; save the file as UTF-8"
        ) from None
    try:
        fields: Any = json.loads(text, object_pairs_hook=json_object)
    except (ValueError, RecursionError) as reason:
        raise _LineError(
            f"{short(text.strip())} is not JSON ({reason}); write one JSON object a line"
        ) from None
    if not isinstance(fields, dict):
        raise _LineError(f"{short(text.strip())} is not an object; write one JSON object a line")
    return _image(fields), _texts(fields)


def _image(fields: dict[str, Any]) -> str:
    _refuse_repeats(fields)
    image = fields.get("image")
    if not isinstance(image, str) or not image.strip():
        what = f"image is {short(image)}" if "image" in fields else "there is no image"
        raise _LineError(f"{what}; give the file name of a picture under `image`, as text")
    return _storable("image", image)


def _refuse_repeats(fields: dict[str, Any]) -> None:
    repeats = fields.repeats if isinstance(fields, RepeatedKeys) else {}
    for name in ("image", *_FIELDS):
        if name in repeats:
            values = " and ".join(short(value, 40) for value in repeats[name])
            raise _LineError(f"{name} stands {len(repeats[name])} times ({values}); keep one of them")


def _texts(fields: dict[str, Any]) -> Texts:
    for name in fields:
        if name.startswith(_KINDS) and name not in _FIELDS:
            raise _LineError(
                f"{short(name)} is no kind of rationale{nearest(name, _FIELDS)}; the kinds are "
                f"{', '.join(_FIELDS)}"
            )
    one, two, three, four = (_text(name, fields.get(name)) for name in _FIELDS)
    if not (one or two or three or four):
        raise _LineError(f"no text under {', '.join(_FIELDS)}; give at least one, or remove the line")
    return one, two, three, four


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _LineError(f"{name} is {short(value)}, not text; put it in quotes, or leave it out for no text")
    return _storable(name, value) if value.strip() else ""


def _storable(name: str, text: str) -> str:
    if not is_storable(text):
        raise _LineError(
            f"{name} has half of a surrogate pair in {short(text)}; write the letter itself in UTF-8"
        )
    return text


def with_texts(data: DataSet, texts: Mapping[str, TextLine]) -> DataSet:
    """The data set with these texts as the captions of its training pictures, and no others.

    Raises UserError where not one of the texts is of a training picture.
    """
    training = {sample.image for sample in data.split("train")}
    if not training & texts.keys():
        example = f"; the first of {len(texts)} is {next(iter(texts))!r}" if texts else ", for it is empty"
        raise UserError(
            f"teacher.jsonl has no text for any of the {len(training)} training pictures{example}: `image` "
            "must be the file name as in the annotations"
        )
    samples = (
        replace(sample, captions=_captions(texts, sample.image)) if sample.split == "train" else sample
        for sample in data.samples
    )
    return replace(data, samples=tuple(samples))


def _captions(texts: Mapping[str, TextLine], image: str) -> Texts | None:
    return texts[image].texts if image in texts else None


def left_out(path: Path, data: DataSet, texts: Mapping[str, TextLine]) -> list[str]:
    """What to tell of lines about other pictures than those of training; nothing where there is none."""
    split_of = {sample.image: sample.split for sample in data.samples}
    other = [image for image in texts if split_of.get(image) in ("dev", "test")]
    unknown = [image for image in texts if image not in split_of]
    told = []
    if other:
        told.append(
            f"{counted(len(other), 'line')} of {path} left out: pictures of dev or test get no rationales"
        )
    if unknown:
        told.append(
            f"{counted(len(unknown), 'line')} of {path} left out, for no training annotation that can be "
            f"used names the picture: {_places(unknown, texts)}; `image` must be the file name as in the "
            "annotations"
        )
    return told


def _places(images: Iterable[str], texts: Mapping[str, TextLine]) -> str:
    places = [f"line {texts[image].number} {printable(short(image))}" for image in images]
    more = f" and {len(places) - TOLD} more" if len(places) > TOLD else ""
    return ", ".join(places[:TOLD]) + more

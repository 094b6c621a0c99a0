"""Rationales that somebody else wrote, from a file with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.kinds import KINDS
from stages.data.swig import DataSet

Texts = tuple[str, str, str, str]  # ordered as KINDS; "" = none

_FIELDS = [kind.field for kind in KINDS]


def read_jsonl(path: Path) -> dict[str, Texts]:
    """Image -> its four texts. A line is ``{"image": "a.jpg", "positive_glimpse": "...", ...}``.

    A kind that is missing has no text; further fields are left alone. Raises UserError with the line's
    number for a file or a line that cannot be read, and for an image that comes twice.
    """
    found: dict[str, Texts] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                image, texts = _read_line(line, f"{path}, line {number}")
                if image in found:
                    raise UserError(
                        f"{path}, line {number}: image {image!r} was there before; keep one line of the two"
                    )
                found[image] = texts
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(
            f"teacher.jsonl {path} cannot be read ({reason}); give a UTF-8 file with one JSON object a line"
        ) from None
    return found


def _read_line(line: str, where: str) -> tuple[str, Texts]:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{where} is not JSON ({reason}); every line must be one JSON object") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise UserError(f"{where} must be an object with the file name of a picture under `image`")
    values = [fields.get(name) or "" for name in _FIELDS]
    wrong = [name for name, value in zip(_FIELDS, values, strict=True) if not isinstance(value, str)]
    if wrong:
        raise UserError(f"{where}: {wrong[0]} is {type(fields[wrong[0]]).__name__}, not text")
    if not any(values):
        raise UserError(f"{where} has none of {', '.join(_FIELDS)}; give at least one")
    return fields["image"], (values[0], values[1], values[2], values[3])


def with_texts(data: DataSet, texts: Mapping[str, Texts]) -> DataSet:
    """The data set with these texts as the captions of its training pictures, and no others.

    Raises UserError where not one of the texts is of a training picture.
    """
    training = {sample.image for sample in data.samples if sample.split == "train"}
    if not training & texts.keys():
        example = f"; the first of {len(texts)} is {next(iter(texts))!r}" if texts else ", for it is empty"
        raise UserError(
            f"teacher.jsonl has no text for any of the {len(training)} training pictures{example}: `image` "
            "must be the file name as in the annotations"
        )
    samples = (
        replace(sample, captions=texts.get(sample.image)) if sample.split == "train" else sample
        for sample in data.samples
    )
    return replace(data, samples=tuple(samples))

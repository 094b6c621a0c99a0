"""Reads the annotation files of one split into samples, one per picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.data.entry import EntryReader
from stages.data.json_file import RepeatedKeys, read_json_object
from stages.data.problem import EntryError, Problem
from stages.data.sample import Sample, Split

HOLDS = "an object with one entry per picture, keyed by file name"


@dataclass(slots=True)
class SplitContents:
    """What the files of one split hold.

    samples    by image; every one is usable
    origin     the file, as messages show it, that each sample is from
    verbs_of   the verbs of the usable samples of each file
    """

    samples: dict[str, Sample] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    verbs_of: dict[Path, frozenset[str]] = field(default_factory=dict)


def read_split(
    files: Sequence[Path], split: Split, reader: EntryReader, name: Callable[[Path], str]
) -> SplitContents:
    """The union of several files; of a picture that several hold, the first file's annotation stands.

    `name` gives a file's name for messages. Raises UserError where a file is broken as a whole; a bad
    entry becomes a problem, and its picture is not taken from another file either.
    """
    contents = SplitContents()
    for path in files:
        file = name(path)
        found = _read_file(path, split, reader, file, contents.problems)
        contents.verbs_of[path] = frozenset(sample.verb for sample in found.values())
        for image, sample in found.items():
            _merge(contents, image, sample, file)
    failed = {problem.image for problem in contents.problems if problem.severity == "error"}
    for image in failed & contents.samples.keys():
        del contents.samples[image], contents.origin[image]
    return contents


def _read_file(
    path: Path, split: Split, reader: EntryReader, file: str, problems: list[Problem]
) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for image, entry in _once(read_json_object(path, HOLDS), file, problems):
        try:
            samples[image], notes = reader.read(image, entry, split)
        except EntryError as reason:
            problems.append(Problem(file, image, str(reason), "error"))
        else:
            problems.extend(Problem(file, image, note, "note") for note in notes)
    return samples


def _once(entries: dict[str, Any], file: str, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    """Every picture's entry; of pictures that stand twice, only those annotated the same each time."""
    repeats = entries.repeats if isinstance(entries, RepeatedKeys) else {}
    for image, values in repeats.items():
        if all(value == values[0] for value in values[1:]):
            reason = f"stands {len(values)} times in the file with the same annotation; used once"
            problems.append(Problem(file, image, reason, "note"))
        else:
            reason = (
                f"stands {len(values)} times in the file with different annotations, and which one is right "
                "cannot be known; none is used; keep one of them"
            )
            problems.append(Problem(file, image, reason, "error"))
    refused = {problem.image for problem in problems if problem.severity == "error"} & repeats.keys()
    return ((image, entry) for image, entry in entries.items() if image not in refused)


def _merge(contents: SplitContents, image: str, sample: Sample, file: str) -> None:
    known = contents.samples.get(image)
    if known is None:
        contents.samples[image], contents.origin[image] = sample, file
        return
    if replace(known, captions=None) != replace(sample, captions=None):
        reason = f"annotated differently in {contents.origin[image]}, whose annotation is used"
        contents.problems.append(Problem(file, image, reason, "note"))
    if known.captions is None and sample.captions is not None:
        contents.samples[image] = replace(known, captions=sample.captions)

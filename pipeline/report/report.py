"""Writes the page: gathers, makes thumbnails, and puts everything into one file at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from cache.atomic import replacing
from cache.errors import UserError
from cache.manifest import load_manifest
from cache.rationales import read_quarantine, read_rationales
from cache.vectors import PICTURES, RATIONALES, read_vectors
from pipeline.report.choice import choose
from pipeline.report.data import gather
from pipeline.report.facts import read_facts
from pipeline.report.neighbours import find_neighbours
from pipeline.report.page import Gallery, page_parts, predictions_json
from pipeline.report.predictions import Predictions, read_predictions
from pipeline.report.thumbnails import Thumbnail, thumbnails
from pipeline.result import Result
from pipeline.table import size
from pipeline.workspace import Workspace
from stages.data.swig import DataSet
from stages.printable import printable

LIMIT = 2000  # pictures
PREDICTIONS = 1000
THUMBNAIL = 384  # pixels
SMALLEST, LARGEST = 32, 2048
# What a page should stay under: a browser opens it at once, and it can still be mailed or put in an issue.
# The texts take what they need, thumbnails share the rest.
PAGE_BYTES = 40_000_000
_LEAST_FOR_THUMBNAILS = 10_000_000


def write_report(
    workspace: Workspace,
    out: Path | None = None,
    limit: int = LIMIT,
    thumbnail: int = THUMBNAIL,
    predictions: int = PREDICTIONS,
) -> Result:
    """`mipd-pipe inspect report`: the page of a run, and one line that says where it is and how large.

    out          None = ``report.html`` in the run folder
    limit        pictures of the gallery; 0 = all
    thumbnail    pixels of a picture's longer side
    predictions  predictions on the page; 0 = all

    Raises UserError where there is no store or an argument cannot be obeyed.
    """
    target = out or workspace.config.run_dir / "report.html"
    _refuse(target, limit, thumbnail, predictions)
    store, data = workspace.store.require(), workspace.data
    rows, failures = read_rationales(store), read_quarantine(store)
    current = rows.filter("current")
    embedded = frozenset(read_vectors(store, PICTURES, with_vectors=False)["image"])
    verb_of = _verbs(rows, failures, embedded, data)
    images = choose(verb_of, frozenset(rows["image"]) | frozenset(failures["image"]), limit)
    of_pictures = find_neighbours(store, PICTURES, frozenset(images), verb_of)
    of_texts = find_neighbours(store, RATIONALES, frozenset(images), verb_of)
    near = {**of_pictures.near, **of_texts.near}
    gallery = Gallery(
        pictures=gather(images, current, failures, data, embedded, near),
        sentences={verb: printable(frame.template) for verb, frame in data.vocabulary.frames.items()},
        notes=[
            f"{what} are left out: {found.missing}"
            for what, found in (("nearest pictures", of_pictures), ("nearest texts", of_texts))
            if found.missing
        ],
        shown=_shown(len(images), len(verb_of)),
    )
    file = workspace.config.run_dir / "predictions.parquet"
    said = read_predictions(file, data, current, store, predictions)
    every = list(dict.fromkeys([*images, *said.images]))
    texts = len(gallery.json({})) + len(predictions_json(said, dict.fromkeys(every, 0)))
    small = dict(zip(every, _thumbnails(workspace, every, thumbnail, texts), strict=True))
    facts = read_facts(workspace, load_manifest(store), rows)
    parts = page_parts(workspace.config.run_dir.name, facts, gallery, said, small)
    return _result(target, _write(target, parts), gallery, said, sum(not one.url for one in small.values()))


def _refuse(target: Path, limit: int, thumbnail: int, predictions: int) -> None:
    if target.is_dir():
        raise UserError(f"--out {target} is a folder; name a file, e.g. {target / 'report.html'}")
    if limit < 0:
        raise UserError(f"--limit {limit} is below 0; give a number of pictures, or 0 for all")
    if predictions < 0:
        raise UserError(f"--predictions {predictions} is below 0; give a number of them, or 0 for all")
    if not SMALLEST <= thumbnail <= LARGEST:
        raise UserError(
            f"--thumbnail {thumbnail} is not from {SMALLEST} to {LARGEST} pixels: below, nothing can be "
            "made out, and above, the page grows beyond what a browser opens fast"
        )


def _verbs(
    rows: pl.DataFrame, failures: pl.DataFrame, embedded: frozenset[str], data: DataSet
) -> dict[str, str]:
    """Verb of every picture the store holds something of; "" where neither data set nor rows know it."""
    annotated = {sample.image: sample.verb for sample in data.samples}
    written = dict(rows.select("image", "verb").iter_rows())
    images = written.keys() | set(failures["image"]) | embedded
    return {image: annotated.get(image) or written.get(image, "") for image in images}


def _thumbnails(workspace: Workspace, images: Sequence[str], side: int, text_bytes: int) -> list[Thumbnail]:
    """In the order of `images`; each as large as lets the page stay under its bound."""
    room = max(PAGE_BYTES - text_bytes, _LEAST_FOR_THUMBNAILS)
    paths = [workspace.data.picture(image) for image in images]
    made = []
    with workspace.console.progress("draw thumbnails", len(paths)) as advance:
        each = room // max(1, len(paths))
        for one in thumbnails(paths, side, each, workspace.config.data.max_image_pixels):
            made.append(one)
            advance(1)
    return made


def _shown(shown: int, known: int) -> str:
    if shown == known:
        return f"all {known:,} pictures that the store holds something of"
    return (
        f"{shown:,} of {known:,} pictures: those with rationales first, spread over the verbs; the same ones "
        "every time; more with --limit"
    )


def _write(target: Path, parts: Iterator[str]) -> int:
    """Puts the page in place of an earlier one, all at once; how many bytes it has."""
    with replacing(target) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.encode())
        return file.tell()


def _result(target: Path, count: int, gallery: Gallery, said: Predictions, missing: int) -> Result:
    shown = [gallery.shown, *([f"{len(said.said):,} of {said.total:,} predictions"] if said.said else [])]
    lines = [f"{target}: {', '.join(shown)}, {size(count)}"]
    notes = [*gallery.notes, *(note for note in (said.note, said.evidence.missing) if note)]
    if missing:
        lines.append(f"note: {missing} pictures could not be shown; the page says why at each")
    lines += [f"note: {note}" for note in notes]
    data = {
        "path": str(target),
        "pictures": len(gallery.pictures),
        "bytes": count,
        "without_picture": missing,
        "predictions": len(said.said),
        "notes": notes,
    }
    return Result(printable("\n".join(lines)), data)

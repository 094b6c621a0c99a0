"""The newest rationales with their verdicts, written for others to open: Parquet, or a Hugging Face data set.

The same store gives the same bytes. A folder appears all at once: it is written beside and renamed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from cache.atomic import TEMPORARY, disk_fault, sync_folder, write_bytes
from cache.errors import UserError
from cache.lock import writer_lock
from cache.manifest import Manifest, load_manifest
from cache.parquet import write_table
from cache.paths import StorePaths
from cache.rationales import SCHEMA, read_rationales

Form = Literal["parquet", "hf", "webdataset"]

VERSION = 1  # of the layouts written here
MARK = "mipd-pipe"  # where a file says what it is: key of a Parquet file's metadata, or of a JSON object
EXPORT_SCHEMA = SCHEMA.append(pa.field("usable", pa.bool_(), nullable=False))

COLUMNS: dict[str, str] = {
    "image": "file name of the picture",
    "split": "train, dev or test",
    "verb": "the annotated activity",
    "aspect": "glimpse: the whole scene; gaze: who and what plays each role, and where",
    "polarity": "positive: why the annotation fits; negative: a plausible but wrong reading of the picture",
    "attempt": "0 = first; a rejected rationale is asked for again with the judge's reason",
    "text": "the rationale",
    "contrast_verb": "the wrong activity that the negatives are about; empty = none was given",
    "contrast_nouns": "JSON object of the wrong nouns: role -> WordNet id",
    "status": "accepted or rejected",
    "judge": "who judged, with its version",
    "score": "the judging model's points, 1 to 5; null where only rules judged",
    "reason": "why it was rejected; empty = accepted",
    "request_key": "fingerprint of everything that decided the row: picture, prompt, model, sampling, judge",
    "teacher": "the model that wrote it",
    "revision": "the model's revision",
    "prompt_id": "fingerprint of the prompt",
    "sampling": "JSON object of the sampling settings",
    "seed": "of this request",
    "tokens_in": "tokens of the request",
    "tokens_out": "tokens of the answer",
    "seconds": "the engine's time for the answer",
    "finish_reason": "stop, length or error",
    "usable": "what training reads: accepted, and no later attempt of its kind was",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where exported rows came from; an import into a store of another data set is refused.

    data_fingerprint   of vocabulary, samples and subsets
    """

    data_fingerprint: str
    held_out_verbs: tuple[str, ...]

    @staticmethod
    def of(manifest: Manifest) -> Source:
        return Source(manifest.data_fingerprint, manifest.held_out_verbs)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "data_fingerprint": self.data_fingerprint,
            "held_out_verbs": list(self.held_out_verbs),
        }


@dataclass(frozen=True, slots=True)
class Export:
    """What was written."""

    pictures: int
    rows: int
    files: tuple[str, ...]


def export_tables(paths: StorePaths, out: Path, form: Form, pictures_per_file: int = 0) -> Export:
    """Writes the folder `out`: Parquet files of each split and a README.md that tells the columns.

    form                "parquet": files in `out` itself; "hf": `datasets.load_dataset(out)` opens it
    pictures_per_file   0 = one file for each split

    Raises UserError where `out` is there already, MachineError where the disk is full.
    """
    assert form != "webdataset"
    frame, source = newest_rows(paths), Source.of(load_manifest(paths))
    inner = Path("data") if form == "hf" else Path()
    with folder_at_once(out) as folder:
        files = []
        for name, rows in split_files(frame, pictures_per_file, ".parquet", always=form == "hf"):
            table = rows.to_arrow().select(EXPORT_SCHEMA.names).cast(EXPORT_SCHEMA)
            mark = {MARK: json.dumps(source.to_json(), sort_keys=True)}
            write_table(folder / inner / name, table.replace_schema_metadata(mark))
            files.append((inner / name).as_posix())
        write_bytes(folder / "README.md", _readme(frame, form, source).encode())
    return Export(frame["image"].n_unique(), frame.height, tuple(files))


def newest_rows(paths: StorePaths) -> pl.DataFrame:
    """Rows of the newest version of each picture, ordered by split and picture. Raises UserError if none."""
    frame = read_rationales(paths.require()).filter("current").drop("current")
    if frame.is_empty():
        raise UserError(
            f"the store at {paths.root} has no rationales to export; make them with "
            "`mipd-pipe generate-rationales`"
        )
    return frame.sort("split", "image", "attempt", "aspect", "polarity", maintain_order=True)


def split_files(
    frame: pl.DataFrame, pictures_per_file: int, suffix: str, always: bool
) -> Iterator[tuple[str, pl.DataFrame]]:
    """File name and rows of each file; numbered where a split has several, or `always`."""
    for (split,), rows in frame.group_by("split", maintain_order=True):
        images = rows["image"].unique(maintain_order=True)
        size = pictures_per_file or len(images)
        count = -(-len(images) // size)
        for number in range(count):
            chosen = images.slice(number * size, size)
            place = f"-{number:05d}-of-{count:05d}" if always or count > 1 else ""
            yield f"{split}{place}{suffix}", rows.filter(pl.col("image").is_in(chosen.implode()))


@contextmanager
def folder_at_once(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` at the end of the block; it is removed where the block fails.

    What a killed call left is removed first. Raises UserError where `out` is there already, MachineError
    where the disk is full or cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there already; give the name of a new folder, or move it away")
    folder = out.with_name(f"{out.name}{TEMPORARY}export")
    with writer_lock(folder, "inspect export"):
        try:
            _empty(folder)
            yield folder
            (folder / "writer.lock").unlink()
            sync_folder(folder)
            folder.replace(out)
            sync_folder(out.parent)
        except BaseException as reason:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(reason, OSError):
                raise disk_fault(reason, out) from reason
            raise


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "writer.lock":
            entry.unlink()


def _readme(frame: pl.DataFrame, form: Form, source: Source) -> str:
    counts = dict(frame.group_by("split", maintain_order=True).len().iter_rows())
    head = _front_matter(counts) if form == "hf" else ""
    told = "\n".join(f"| `{name}` | {_type(name)} | {COLUMNS[name]} |" for name in EXPORT_SCHEMA.names)
    return (
        f"{head}# Judged rationales\n\n"
        f"{frame.height} rows of {frame['image'].n_unique()} pictures: one for every attempt at every "
        "rationale of a picture's newest version, with the verdict on it. Train on rows where `usable` is "
        "true.\n\n"
        f"Data set fingerprint: `{source.data_fingerprint}`. "
        f"Held-out verbs, which no usable row may name: {', '.join(source.held_out_verbs) or 'none'}.\n\n"
        f"| column | type | |\n|---|---|---|\n{told}\n\n"
        "Brought back into a store by `mipd-pipe inspect import`.\n"
    )


def _front_matter(counts: Mapping[str, int]) -> str:
    """What the Hugging Face hub and `datasets` read first."""
    lines = ["---", "pretty_name: Judged rationales", "configs:", "- config_name: default", "  data_files:"]
    for split in counts:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    lines += ["dataset_info:", "  features:"]
    for name in EXPORT_SCHEMA.names:
        lines += [f"  - name: {name}", f"    dtype: {_type(name)}"]
    lines.append("  splits:")
    for split, rows in counts.items():
        lines += [f"  - name: {split}", f"    num_examples: {rows}"]
    return "\n".join([*lines, "---", "", ""])


def _type(name: str) -> str:
    kind = str(EXPORT_SCHEMA.field(name).type)
    return {"float": "float32"}.get(kind, kind)

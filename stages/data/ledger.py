"""Remembers which pictures were read and found whole, so that a resume need not read them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from cache.keys import digest_bytes
from stages.batches import batches
from stages.data.pictures import PictureError, decode, read_bytes
from stages.memo_file import MemoFile

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ],
    metadata={"picture_ledger": "1"},
)
WORKERS = min(8, os.cpu_count() or 1)  # Pillow decodes outside the interpreter's lock
CHUNK = 256  # pictures under way at once, so that Ctrl-C waits for seconds and not for the whole data set
SAVE_EVERY = 8192  # freshly read pictures between two savings: a killed check loses about a minute


class _Picture(NamedTuple):
    """What is known of one whole picture; a changed size or time of change means it is read again."""

    bytes: int
    mtime_ns: int
    digest: str
    width: int
    height: int


class PictureLedger:
    """Digest, size and problem of every picture that `check` was asked about.

    Only whole pictures are remembered in the file; a picture with a problem is looked at every time,
    so that a repaired one is noticed. A ledger file that cannot be read is made again, and `rebuilt`
    says why. Several processes may fill one file, each with the pictures it checks.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._file = MemoFile(path, SCHEMA, "picture ledger", "every picture is read again")
        self.max_pixels = max_pixels
        self._problems: dict[str, str] = {}
        table, self.rebuilt = self._file.load()
        self._known = _rows(table)
        self._unsaved: set[str] = set()  # found whole, or found so no more

    def check(
        self,
        images_folder: Path,
        annotated_sizes: Mapping[str, tuple[int, int]],
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Reads and fully decodes every picture that is new or changed, and compares its size.

        annotated_sizes   width and height in pixels by image
        progress          called with the number of pictures done since the last call

        What was read is saved also where the check is interrupted. Raises MachineError for a full disk.
        """
        try:
            for chunk in batches(list(annotated_sizes), CHUNK):
                self._check_chunk(images_folder, chunk, annotated_sizes)
                if progress is not None:
                    progress(len(chunk))
                if len(self._unsaved) >= SAVE_EVERY:
                    self._save()
        finally:
            if self._unsaved:
                self._save()

    def digest(self, image: str) -> str:
        """128-bit hex of the picture file's bytes. Raises KeyError where `check` found no whole picture."""
        return self._known[image].digest

    def digests_now(self, folder: Path, images: Iterable[str]) -> dict[str, str]:
        """Image -> digest of its file's bytes as it is now, of the pictures that are there and known.

        Asks the file system alone about files that have not changed; decodes none, and saves nothing.
        """
        known = [image for image in images if image in self._known]
        with ThreadPoolExecutor(WORKERS) as pool:
            found = pool.map(lambda image: self._digest_now(folder / image, self._known[image]), known)
            return {image: digest for image, digest in zip(known, found, strict=True) if digest}

    def _digest_now(self, path: Path, known: _Picture) -> str:
        try:
            status = path.stat()
            unchanged = (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
            return known.digest if unchanged else digest_bytes(path.read_bytes())
        except OSError:  # training needs no picture; `check` says what is wrong with one
            return ""

    def problem(self, image: str) -> str | None:
        """Why the picture cannot be used, as of the last `check` that was asked about it; None if it can."""
        return self._problems.get(image)

    def _check_chunk(
        self, folder: Path, images: Sequence[str], annotated_sizes: Mapping[str, tuple[int, int]]
    ) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            found = list(pool.map(lambda image: self._look(folder / image, self._known.get(image)), images))
        for image, picture in zip(images, found, strict=True):
            self._problems.pop(image, None)
            if isinstance(picture, str):
                self._problems[image] = picture
                if self._known.pop(image, None) is not None:
                    self._unsaved.add(image)
                continue
            if picture is not self._known.get(image):
                self._known[image] = picture
                self._unsaved.add(image)
            width, height = annotated_sizes[image]
            if (picture.width, picture.height) != (width, height):
                self._problems[image] = (
                    f"annotated as {width} x {height} pixels, but the picture has {picture.width} x "
                    f"{picture.height}: a size that is not the picture's, so its boxes cannot be placed; "
                    "correct the annotation, or put the picture that was annotated in its place"
                )

    def _look(self, path: Path, known: _Picture | None) -> _Picture | str:
        """What is known, where the file has not changed; else what reading it shows, or its problem."""
        try:
            status = path.stat()
        except OSError:
            status = None  # read_bytes says what is wrong
        if known is not None and status is not None and self._is_current(known, status):
            return known
        try:
            data = read_bytes(path, self.max_pixels)
            picture = decode(data, path, self.max_pixels)
        except PictureError as problem:
            return problem.reason
        mtime_ns = status.st_mtime_ns if status is not None else 0
        return _Picture(len(data), mtime_ns, digest_bytes(data), picture.width, picture.height)

    def _is_current(self, known: _Picture, status: os.stat_result) -> bool:
        unchanged = (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return unchanged and known.width * known.height <= self.max_pixels

    def _save(self) -> None:
        self._file.save(self._merge)
        self._unsaved = set()

    def _merge(self, table: pa.Table | None) -> pa.Table:
        """What this process found since it last saved, and of the rest what is in the file now."""
        rows = _rows(table) if table is not None else dict(self._known)
        for image in self._unsaved:
            rows.pop(image, None)
        rows.update({image: self._known[image] for image in self._unsaved if image in self._known})
        columns = list(zip(*((image, *rows[image]) for image in sorted(rows)), strict=True))
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(columns or [()] * len(SCHEMA), SCHEMA, strict=True)
        ]
        return pa.table(arrays, SCHEMA)


def _rows(table: pa.Table | None) -> dict[str, _Picture]:
    if table is None:
        return {}
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {image: _Picture(*fields) for image, *fields in rows}

"""Tar shards as WebDataset reads them: KEY.jpg, KEY.json, and KEY.BANK.npy where banks are asked for."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache.atomic import replacing
from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.export import EXPORT_SCHEMA, MARK, Export, Source, folder_at_once, newest_rows, split_files
from cache.manifest import load_manifest
from cache.paths import StorePaths

PICTURES_PER_FILE = 1000  # about 150 MB of pictures of 500 pixels

Annotation = Callable[[str], Mapping[str, Any] | None]
Member = tuple[str, bytes]  # extension and contents


def export_webdataset(
    paths: StorePaths,
    out: Path,
    picture: Callable[[str], Path],
    annotation: Annotation,
    banks: Sequence[str] = (),
    pictures_per_file: int = PICTURES_PER_FILE,
    advance: Callable[[int], None] = lambda _: None,
) -> Export:
    """Writes the folder `out`: tar shards of each split, a picture's files one after another.

    picture      the file of an image; annotation: what is known of it, as JSON values
    banks        of which each picture's tokens are written too, in float32, with their lengths where masked
    advance      is told the pictures written

    Raises UserError where `out` is there already, a picture cannot be read or lacks a row in a bank.
    """
    frame, source = newest_rows(paths), Source.of(load_manifest(paths))
    keys = _keys(frame["image"].unique(maintain_order=True))
    with ExitStack() as opened, folder_at_once(out) as folder:
        readers = [opened.enter_context(closing(BankReader(paths, name))) for name in banks]
        files = []
        for name, rows in split_files(frame, pictures_per_file, ".tar", always=True):
            with replacing(folder / name) as temporary, tarfile.open(temporary, "w") as tar:
                for (image,), own in rows.group_by("image", maintain_order=True):
                    told = _told(str(image), own, annotation, source)
                    for extension, data in _members(str(image), picture, told, readers):
                        _add(tar, f"{keys[str(image)]}.{extension}", data)
                    advance(1)
            files.append(name)
    return Export(len(keys), frame.height, tuple(files))


def _members(
    image: str, picture: Callable[[str], Path], told: Mapping[str, Any], readers: Iterable[BankReader]
) -> Iterator[Member]:
    try:
        yield (Path(image).suffix[1:].lower() or "img"), picture(image).read_bytes()
    except OSError as reason:
        raise UserError(
            f"picture {image!r} cannot be read ({reason}), and a shard without it would be incomplete: put "
            "it back, or export to parquet, which holds no pictures"
        ) from None
    yield "json", json.dumps(told, sort_keys=True, ensure_ascii=False).encode()
    for reader in readers:
        row = reader.read(image)
        yield f"{reader.header.name}.npy", _npy(row.tokens)
        if row.lengths is not None:
            yield f"{reader.header.name}.lengths.npy", _npy(row.lengths)


def _told(image: str, rows: pl.DataFrame, annotation: Annotation, source: Source) -> dict[str, Any]:
    return {
        "image": image,
        "annotation": annotation(image),
        "rationales": rows.select(EXPORT_SCHEMA.names).to_dicts(),
        MARK: source.to_json(),
    }


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """With no time, owner or right of this machine, so that equal stores give equal bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _keys(images: Iterable[str]) -> dict[str, str]:
    """Image -> its key: the name before its extension, which WebDataset takes to begin at the first dot.

    The whole name where two pictures differ in their extension alone.
    """
    names = list(images)
    often = Counter(_escaped(Path(image).with_suffix("").as_posix()) for image in names)
    short = {image: _escaped(Path(image).with_suffix("").as_posix()) for image in names}
    return {image: key if often[key] == 1 else _escaped(image) for image, key in short.items()}


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")

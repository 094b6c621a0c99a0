"""What all rows of a bank have in common, and the names of the banks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.atomic import write_bytes
from cache.codec import STORAGE_TYPES, StorageType, encoded_size
from cache.errors import UserError
from cache.keys import fingerprint
from cache.manifest import Manifest, load_manifest
from cache.paths import StorePaths
from cache.stored_rows import LENGTH_TYPE

# The banks both stages know: one writes them under these names, the other reads them.
TEACHER_VISION, STUDENT_VISION, RATIONALE_TEXT = "teacher-vision", "student-vision", "rationale-text"


def mirrored(name: str) -> str:
    """The bank that holds the second view of a vision bank: its pictures mirrored left to right."""
    return f"{name}-mirrored"


@dataclass(frozen=True, slots=True)
class BankHeader:
    """What every row of a bank has in common.

    shape      of one row's tokens, the last axis being the width: (577, 1024), (4, 77, 768)
    masked     rows carry true lengths, one per sequence along the first axis
    geometry   of the pictures' frame, see `stages.data.geometry`; None for text
    encoder    identity of what made the vectors
    """

    name: str
    storage: StorageType
    shape: tuple[int, ...]
    masked: bool
    geometry: dict[str, Any] | None
    encoder: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(asdict(self))

    @property
    def token_bytes(self) -> int:
        return encoded_size(int(np.prod(self.shape[:-1])), self.shape[-1], self.storage)

    @property
    def row_bytes(self) -> int:
        return self.token_bytes + (self.shape[0] * LENGTH_TYPE.itemsize if self.masked else 0)


def write_header(paths: StorePaths, header: BankHeader) -> None:
    """Lays the header beside the shards it describes; written before the first of them."""
    write_bytes(_header_path(paths, header.name, header.fingerprint), _header_json(header))


def read_header(paths: StorePaths, name: str) -> BankHeader:
    """The header in force of a bank. Raises UserError where the bank is missing or its header is broken."""
    return header_in_force(paths, load_manifest(paths.require()), name)


def header_in_force(paths: StorePaths, manifest: Manifest, name: str) -> BankHeader:
    """The same by a manifest that was read already."""
    current = manifest.current
    if name not in current:
        there = ", ".join(sorted({part.name for part in manifest.parts if part.kind == "bank"})) or "none"
        raise UserError(
            f"the store at {paths.root} has no bank {name!r} (it has: {there}); "
            "make it with `mipd-pipe embed-teacher`"
        )
    path = _header_path(paths, name, current[name])
    try:
        fields = json.loads(path.read_bytes())
        header = BankHeader(**{**fields, "shape": tuple(fields["shape"])})
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise UserError(f"bank header {path} cannot be read ({reason}); {_REBUILD}") from None
    if header.fingerprint != current[name] or header.storage not in STORAGE_TYPES:
        raise UserError(f"bank header {path} is not the one its shards were written with; {_REBUILD}")
    return header


_REBUILD = "rebuild the bank with `mipd-pipe embed-teacher`"


def _header_path(paths: StorePaths, name: str, mark: str) -> Path:
    return paths.bank(name) / f"{mark[:12]}.json"


def _header_json(header: BankHeader) -> bytes:
    return (json.dumps(asdict(header), indent=1) + "\n").encode()


def picture_key(mark: str, digest: str) -> str:
    """Key of a row made of a picture: the bank's fingerprint, and the digest of the picture file's bytes."""
    return fingerprint([mark, digest])

"""A reader of stores written from docs/store-format.md alone: it imports nothing of the package.

Axes: N rows, E numbers of a vector; a bank's row has the shape that its header says.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import lmdb
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

Row = dict[str, Any]
KINDS = (("glimpse", "positive"), ("glimpse", "negative"), ("gaze", "positive"), ("gaze", "negative"))


def canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def fingerprint(value: Any) -> str:
    return digest(canonical(value))


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def vector_id(image: str, aspect: str, polarity: str) -> int:
    parts = canonical(["vector", image, aspect, polarity])
    return int.from_bytes(hashlib.blake2b(parts, digest_size=8).digest(), "big") >> 1


class BankRow(NamedTuple):
    """Tokens in the bank's shape, lengths [first axis] or None, hex key of what decided them."""

    tokens: NDArray[np.float32]
    lengths: list[int] | None
    key: str


@dataclass(frozen=True)
class Store:
    """A store, by its manifest as it was when it was opened."""

    root: Path
    manifest: dict[str, Any]

    @staticmethod
    def open(root: Path) -> Store:
        manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        told = {name: value for name, value in manifest.items() if name != "checksum"}
        if manifest["format"] != 2 or manifest["checksum"] != fingerprint(told):
            raise ValueError("the manifest is damaged or of another format")
        return Store(root, manifest)

    def parts(self, kind: str, name: str = "") -> list[Row]:
        """Those in force, in order."""
        found = [part for part in self.manifest["parts"] if (part["kind"], part["name"]) == (kind, name)]
        if kind in ("bank", "vectors", "labels"):
            found = [part for part in found if part["fingerprint"] == self.manifest["current"].get(name)]
        return found

    def damaged(self) -> list[str]:
        """Paths of the parts whose bytes are not those that were listed."""
        return [
            part["path"]
            for part in self.manifest["parts"]
            if digest((self.root / part["path"]).read_bytes()) != part["checksum"]
        ]

    def _rows(self, kind: str, name: str = "") -> list[Row]:
        tables = (pq.ParquetFile(self.root / part["path"]).read() for part in self.parts(kind, name))
        return [row for table in tables for row in table.to_pylist()]

    def current_rationales(self) -> list[Row]:
        rows = self._rows("rationales")
        newest = {row["image"]: row["request_key"] for row in rows}
        last = {_attempt(row): number for number, row in enumerate(rows)}
        return [
            row
            for number, row in enumerate(rows)
            if newest[row["image"]] == row["request_key"] and last[_attempt(row)] == number
        ]

    def texts(self) -> dict[str, list[str]]:
        """Image -> its four usable texts, "" where there is none."""
        found: dict[str, list[str]] = {}
        best: dict[tuple[str, int], int] = {}
        for row in self.current_rationales():
            texts = found.setdefault(row["image"], [""] * len(KINDS))
            kind = KINDS.index((row["aspect"], row["polarity"]))
            place = (row["image"], kind)
            if row["status"] == "accepted" and row["attempt"] >= best.get(place, 0):
                texts[kind], best[place] = row["text"], row["attempt"]
        return found

    def failures(self) -> list[Row]:
        return list({(row["image"], row["stage"]): row for row in self._rows("quarantine")}.values())

    def header(self, bank: str) -> Row:
        mark = self.manifest["current"][bank]
        header: Row = json.loads((self.root / "banks" / bank / f"{mark[:12]}.json").read_text("utf-8"))
        if fingerprint(header) != mark:
            raise ValueError(f"the header of {bank} is damaged")
        return header

    def bank(self, name: str) -> dict[str, BankRow]:
        header, found = self.header(name), {}
        for part in self.parts("bank", name):
            path = str(self.root / part["path"])
            with lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=2) as env:
                rows, keys = (env.open_db(table, create=False) for table in (b"rows", b"keys"))
                with env.begin() as transaction:
                    for image, payload in transaction.cursor(rows):
                        key = bytes(transaction.get(image, db=keys) or b"").hex()
                        found[bytes(image).decode()] = BankRow(*decode(payload, header), key)
        return found

    def vectors(self, family: str) -> dict[int, Row]:
        """id -> row."""
        rows = self._rows("vectors", family)
        newest = {row["image"]: row["row_key"] for row in rows}
        found = {row["id"]: row for row in rows if newest[row["image"]] == row["row_key"]}
        hidden = family == "rationales"
        return {id_: row for id_, row in found.items() if row["aspect"] or not hidden}

    def labels(self, family: str) -> tuple[list[str], NDArray[np.float32]]:
        """Labels and their vectors [N, E]."""
        table = pq.ParquetFile(self.root / self.parts("labels", family)[-1]["path"]).read()
        return table["label"].to_pylist(), np.array(table["vector"].to_pylist(), np.float32)

    def nearest(self, family: str, query: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
        """ids and cosines of the vectors nearest to a query [E]."""
        part = self.parts("index", family)[-1]
        built_from = self.manifest["producers"][part["producer"]]["built_from"]
        if built_from != [source["checksum"] for source in self.parts("vectors", family)]:
            raise ValueError(f"the index of {family} is older than its vectors")
        index = faiss.read_index(str(self.root / part["path"]))
        scores, ids = index.search((query / np.linalg.norm(query))[None].astype(np.float32), count)
        return [
            (id_, score) for id_, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if id_ >= 0
        ]


def _attempt(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("image", "request_key", "aspect", "polarity", "attempt"))


def decode(payload: bytes, header: Row) -> tuple[NDArray[np.float32], list[int] | None]:
    *leading, width = header["shape"]
    tokens = int(np.prod(leading))
    raw_type = {"fp32": "<f4", "fp16": "<f2", "bf16": "<u2", "int8": "i1"}[header["storage"]]
    raw = np.frombuffer(payload, raw_type, tokens * width)
    end = raw.nbytes
    if header["storage"] == "bf16":
        values = (raw.astype(np.uint32) << 16).view(np.float32)
    else:
        values = raw.astype(np.float32)
    if header["storage"] == "int8":
        scales = np.frombuffer(payload, "<f4", tokens, end)
        values, end = (values.reshape(tokens, width) * scales[:, None]).reshape(-1), end + scales.nbytes
    lengths = np.frombuffer(payload, "<i4", leading[0], end).tolist() if header["masked"] else None
    return values.reshape(header["shape"]), lengths

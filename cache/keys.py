"""Fingerprints: of settings and records, of bytes and files, and the numbers derived from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16  # 128 bits: no accidental collision among any number of rows a disk can hold
_CHUNK = 1 << 20


def canonical(value: Any) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces, UTF-8; NaN is refused (ValueError)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def fingerprint(value: Any) -> str:
    """128-bit hex fingerprint of a JSON value, equal for equal values whatever their key order."""
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def digest_file(path: Path) -> str:
    """The same digest as `digest_bytes` of the file's contents, read in pieces."""
    state, room = hashlib.blake2b(digest_size=DIGEST_BYTES), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(room):
            state.update(room[:count])
    return state.hexdigest()


def derive_number(*parts: Any, bits: int = 63) -> int:
    """A non-negative number decided by `parts` alone: seeds (31 bits) and vector ids (63 bits)."""
    assert 0 < bits <= 63
    digest = hashlib.blake2b(canonical(list(parts)), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - bits)

"""The head of a safetensors file, and digests of its tensors; needs no torch.

Format (safetensors 0.x): 8 bytes little-endian length, that many bytes of JSON, then the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.keys import DIGEST_BYTES

# A tensor of up to _BLOCKS * _BLOCK bytes is digested whole, of a longer one this many blocks.
_BLOCK = 4096
_BLOCKS = 4


@dataclass(frozen=True)
class Header:
    """start: the byte where the data begin; tensors: name -> dtype, shape and data_offsets."""

    start: int
    tensors: Mapping[str, Mapping[str, Any]]


def read_header(path: Path) -> Header:
    """Raises UserError where the file is no safetensors file or is shorter than its own header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            if not 2 <= length <= size - 8:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            tensors = json.loads(file.read(length))
            tensors.pop("__metadata__", None)
            end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        except (ValueError, TypeError, KeyError, AttributeError) as reason:
            raise UserError(
                f"{path} is not a safetensors file ({reason}); it may be a Git LFS pointer or an error page "
                "in place of the weights: download it again"
            ) from None
    if size < end:
        raise UserError(
            f"{path} has {size} bytes where its header says {end}: the download stopped; download it again"
        )
    return Header(8 + length, tensors)


def tensor_digests(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Tensor name -> digest of its dtype, shape and data.

    Of a tensor longer than 16 KiB only four blocks are read, so that 4 GB of weights take a fraction of a
    second at every start. Training or merging changes a tensor all over; an edit of single numbers may
    go unseen.
    """
    header = read_header(path)
    digests: dict[str, str] = {}
    with path.open("rb") as file:
        for name in names:
            if name not in header.tensors:
                raise UserError(
                    f"{path} lacks the tensor {name} that its index promises; download the model again"
                )
            tensor = header.tensors[name]
            state = hashlib.blake2b(f"{tensor['dtype']} {tensor['shape']}".encode(), digest_size=DIGEST_BYTES)
            begin, end = tensor["data_offsets"]
            for offset, length in _sampled_spans(end - begin):
                file.seek(header.start + begin + offset)
                state.update(file.read(length))
            digests[name] = state.hexdigest()
    return digests


def _sampled_spans(size: int) -> list[tuple[int, int]]:
    """(offset, length) of what is read of `size` bytes: all of few, else evenly spaced blocks."""
    if size <= _BLOCK * _BLOCKS:
        return [(0, size)]
    return [((size - _BLOCK) * i // (_BLOCKS - 1), _BLOCK) for i in range(_BLOCKS)]

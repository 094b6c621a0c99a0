"""How arrays become bytes in a bank: four storage types, little-endian, rows of tokens.

Axes: T tokens (all leading axes flattened), D width of a token.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

StorageType = Literal["fp32", "fp16", "bf16", "int8"]
STORAGE_TYPES: tuple[StorageType, ...] = get_args(StorageType)
# bf16 has no numpy type, so it travels as its 16 bits.
RAW_TYPES: dict[StorageType, np.dtype[Any]] = {
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
SCALE_TYPE = np.dtype("<f4")
# Values beyond these would come back as infinity; int8's is where 127 times its scale may overflow.
_LARGEST: dict[StorageType, float] = {
    "fp16": 65504.0,
    "bf16": float.fromhex("0x1.fep127"),
    "int8": 2.0**127,
}


def encode(tokens: NDArray[np.float32], storage: StorageType) -> bytes:
    """[..., D] float32 -> bytes: all values, then for int8 one fp32 scale per token.

    Raises ValueError where a value is not finite, or beyond the largest of the storage type.
    """
    flat = np.ascontiguousarray(tokens, dtype=np.float32).reshape(-1, tokens.shape[-1])
    if not np.isfinite(flat).all():
        raise ValueError("an encoder gave a value that is not finite (NaN or infinity)")
    if storage in _LARGEST and (largest := float(np.abs(flat).max(initial=0.0))) > _LARGEST[storage]:
        wider = "bf16" if storage == "fp16" else "fp32"
        raise ValueError(
            f"value {largest:g} is beyond {storage}'s {_LARGEST[storage]:g}; store this bank as {wider}"
        )
    if storage == "bf16":
        return _to_bf16(flat).astype("<u2").tobytes()
    if storage == "int8":
        return _to_int8(flat)
    return flat.astype(RAW_TYPES[storage]).tobytes()


def encoded_size(tokens: int, dim: int, storage: StorageType) -> int:
    """Bytes of `tokens` x `dim` values in a storage type."""
    values = tokens * dim * RAW_TYPES[storage].itemsize
    return values + (tokens * SCALE_TYPE.itemsize if storage == "int8" else 0)


def decode(data: bytes | memoryview, shape: tuple[int, ...], storage: StorageType) -> NDArray[np.float32]:
    """The inverse of `encode` up to the storage type's rounding: a new float32 array of `shape`."""
    tokens, dim = int(np.prod(shape[:-1])), shape[-1]
    raw = np.frombuffer(data, RAW_TYPES[storage], count=tokens * dim)
    if storage == "bf16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)
    values = raw.astype(np.float32).reshape(tokens, dim)
    if storage == "int8":
        values *= np.frombuffer(data, SCALE_TYPE, count=tokens, offset=tokens * dim)[:, None]
    return values.reshape(shape)


def _to_int8(flat: NDArray[np.float32]) -> bytes:
    """[T, D] -> levels, then scales. A token's largest value is level 127 or -127."""
    scale: NDArray[np.float32] = (np.abs(flat).max(axis=1, keepdims=True) / 127.0).astype(SCALE_TYPE)
    # Below the smallest normal number a scale has too few bits left for its levels to fit: such a token is 0.
    scale[scale < np.finfo(np.float32).tiny] = 0.0
    levels = np.rint(flat / np.where(scale > 0, scale, np.inf)).astype(np.int8)
    return bytes(levels.tobytes() + scale.tobytes())


def _to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to nearest, ties to even: what hardware does. Finite input only."""
    bits = values.view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)

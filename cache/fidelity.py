"""How near the rows of a bank come to the fp32 tokens they were made of, measured as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.codec import StorageType, decode
from cache.manifest import Manifest, Part

_SAMPLE = 64  # rows of a shard; decoding them takes a hundredth of the time of writing it
_FIELD = "fidelity"  # of what was measured of a part


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Cosine of stored tokens to what they were: over `tokens` of `rows` sampled rows, and the worst token.

    Tokens of zeros, and those beyond the true length of a sequence, have no direction and do not count.
    """

    rows: int
    tokens: int
    mean_cosine: float
    worst_cosine: float


class FidelityProbe:
    """Watches a shard being written, and measures up to 64 of its rows, evenly spread."""

    def __init__(self, shape: tuple[int, ...], storage: StorageType, capacity: int) -> None:
        self._shape, self._storage = shape, storage
        self._step = max(1, -(-capacity // _SAMPLE))
        self._seen = self._rows = self._tokens = 0
        self._sum, self._worst = 0.0, 1.0

    def note(
        self, tokens: NDArray[np.float32], payload: bytes, lengths: NDArray[np.integer[Any]] | None
    ) -> None:
        """A row that was encoded as `payload`."""
        self._seen += 1
        if (self._seen - 1) % self._step:
            return
        cosines = token_cosines(tokens, decode(payload, self._shape, self._storage))
        if lengths is not None:
            cosines = cosines[np.arange(self._shape[1]) < lengths[:, None]]
        cosines = cosines[np.isfinite(cosines)]
        self._rows += 1
        self._tokens += cosines.size
        self._sum += float(cosines.sum())
        self._worst = min(self._worst, float(cosines.min(initial=1.0)))

    def record(self) -> dict[str, Any]:
        """To be kept with the shard's part; nothing where no token could be measured."""
        if not self._tokens:
            return {}
        mean = min(1.0, self._sum / self._tokens)
        return {_FIELD: asdict(Fidelity(self._rows, self._tokens, round(mean, 9), round(self._worst, 9)))}


def token_cosines(tokens: NDArray[np.float32], stored: NDArray[np.float32]) -> NDArray[np.float64]:
    """[..., D] and [..., D] -> [...]; NaN where the token is zeros, 0 where only what is stored is."""
    # By their largest values first: the square of a large one is beyond even what a double holds well.
    a, b = (_scaled(values.astype(np.float64)) for values in (tokens, stored))
    norm = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    with np.errstate(invalid="ignore"):
        cosine: NDArray[np.float64] = np.where(norm > 0, (a * b).sum(-1) / norm, 0.0)
    return np.where(np.abs(a).max(-1) > 0, np.minimum(cosine, 1.0), np.nan)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(values).max(axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = values / np.where(largest > 0, largest, 1.0)
    return scaled


def bank_fidelity(manifest: Manifest, name: str) -> Fidelity | None:
    """Of all shards of a bank in force together; None where they were written before it was measured."""
    return combine(manifest.in_force("bank", name))


def combine(parts: Iterable[Part]) -> Fidelity | None:
    """The fidelity of several shards taken together; shards that do not tell theirs do not count."""
    told = [Fidelity(**part.measured[_FIELD]) for part in parts if _FIELD in part.measured]
    if not told:
        return None
    tokens = sum(one.tokens for one in told)
    return Fidelity(
        rows=sum(one.rows for one in told),
        tokens=tokens,
        mean_cosine=sum(one.mean_cosine * one.tokens for one in told) / tokens,
        worst_cosine=min(one.worst_cosine for one in told),
    )

"""FAISS indexes over pooled vectors. Every vector in an index carries its key's id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.atomic import replacing
from cache.errors import UserError
from cache.manifest import Manifest, describe_part, load_manifest, next_number, replace_part
from cache.paths import StorePaths
from cache.vectors import Floats, matrix, read_vectors


@dataclass(frozen=True, slots=True)
class Hit:
    """One neighbour: its key and the cosine similarity to the query."""

    image: str
    aspect: str
    polarity: str
    similarity: float


def build_index(paths: StorePaths, family: str, producer: dict[str, Any]) -> bool:
    """Indexes the newest vectors of a family for exact cosine search, in place of any earlier index.

    False where nothing was to do: no vectors, or the index is there and of exactly these. Raises UserError
    without FAISS, MachineError where the disk is full or cannot be written.
    """
    manifest = load_manifest(paths)
    built_from = _sources(manifest, family)
    if not built_from or _is_current(paths, manifest, family):
        return False
    faiss = require_faiss()
    frame = read_vectors(paths, family)
    vectors = _unit(matrix(frame["vector"]))
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, frame["id"].to_numpy().astype(np.int64))
    target = paths.index / f"{family}-{next_number(paths, paths.index, '.faiss'):05d}.faiss"
    # Through Python's file: FAISS's own writer only prints when the last bytes find the disk full.
    with replacing(target) as temporary, temporary.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    producer = {**producer, "built_from": built_from}
    replace_part(paths, describe_part(paths, target, "index", len(vectors), producer, family))
    return True


def search(paths: StorePaths, family: str, queries: Floats, count: int) -> list[list[Hit]]:
    """The `count` nearest keys of each query [B, E], nearest first.

    Raises UserError where there is no index, it is older than its vectors, or the width differs.
    """
    index = load_index(paths, family)
    if queries.shape[1] != index.d:
        raise UserError(
            f"the query has {queries.shape[1]} numbers, the index of {family} {index.d}: it must come from "
            "the encoder that made the vectors; check the `embed` section of the config"
        )
    similarities, ids = index.search(_unit(queries), min(count, index.ntotal))
    keys = read_vectors(paths, family, with_vectors=False)
    lookup = {row[0]: row[1:] for row in keys.select("id", "image", "aspect", "polarity").iter_rows()}

    def hit(id_: int, similarity: float) -> Hit:
        image, aspect, polarity = lookup[id_]
        return Hit(image, aspect, polarity, similarity)

    return [
        [hit(int(i), float(s)) for i, s in zip(row_ids, row, strict=True)]
        for row_ids, row in zip(ids, similarities, strict=True)
    ]


def load_index(paths: StorePaths, family: str) -> Any:
    """The FAISS index of a family, if it was built from exactly the vectors now in force.

    Raises UserError where it is missing, damaged or older than they are, or FAISS is not installed.
    """
    manifest = load_manifest(paths.require())
    rebuild = "run `mipd-pipe embed-teacher` to build it"
    if not manifest.of("index", family):
        raise UserError(f"the store at {paths.root} has no index of {family}; {rebuild}")
    path = paths.root / manifest.of("index", family)[-1].path
    if not path.exists():
        raise UserError(f"{path} is listed but missing; {rebuild}")
    if not _is_current(paths, manifest, family):
        raise UserError(f"{path} is not of the vectors now in the store; {rebuild}")
    try:
        return require_faiss().read_index(str(path))
    except RuntimeError as reason:
        raise UserError(f"{path} cannot be read ({reason}); delete it, then {rebuild}") from None


def _sources(manifest: Manifest, family: str) -> list[str]:
    """Checksums of the vector parts in force: an index is current when it was built from these."""
    return [part.checksum for part in manifest.in_force("vectors", family)]


def _is_current(paths: StorePaths, manifest: Manifest, family: str) -> bool:
    built = manifest.of("index", family)
    if not built or built[-1].producer["built_from"] != _sources(manifest, family):
        return False
    path = paths.root / built[-1].path
    return path.exists() and path.stat().st_size == built[-1].bytes


def index_ids(paths: StorePaths, family: str) -> NDArray[np.int64]:
    """The ids an index holds, in its own order. Raises UserError as `load_index` does."""
    faiss = require_faiss()
    index = load_index(paths, family)  # held until the ids are copied: it owns their memory
    ids: NDArray[np.int64] = faiss.vector_to_array(index.id_map)
    return ids


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def require_faiss() -> Any:
    """The module. Raises UserError with the command that installs it."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            'searching the store needs FAISS, which is not installed: pip install "mipd-pipe[cpu]", '
            'or "mipd-pipe[gpu]" on a machine with a GPU'
        ) from None
    return faiss

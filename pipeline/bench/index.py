"""`mipd-pipe bench index`: what each kind of index costs and finds, on made-up vectors."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from cache.errors import UserError
from cache.index import VectorIndex, build_index, index_records
from cache.index_plan import IndexWish, plan_index
from cache.kinds import KINDS
from cache.manifest import add_parts, put_in_force
from cache.paths import StorePaths
from cache.vectors import RATIONALES, Floats, VectorKey, write_vectors
from pipeline.bench.child import in_new_process, own_bytes
from pipeline.console import Console
from pipeline.result import Result
from pipeline.table import render, size

WISHES = {
    "flat": IndexWish("flat"),
    "ivf": IndexWish("ivf"),
    "hnsw": IndexWish("hnsw"),
    "ivf-pq": IndexWish("ivf", quantise=64),
}
_TOPICS, _LATENT = 504, 64  # SWiG's verbs; numbers that the others follow from
_PART = 4096  # vectors of a part, as 1,024 pictures with four rationales give
_SINGLE, _MANY, _NEAREST = 20, 1000, 10
_TICK = 0.01  # seconds between two looks at the memory
_SPARE = 200 << 20


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """Of one kind of index. Bytes and seconds; `expected_` is what was predicted before it was built.

    build_cpu_seconds        of all threads together; on a busy machine it says more than the time that passed
    search_one, search_many  seconds a query, alone and with 1,000 at once, in the opened index
    """

    kind: str
    plan: str
    build_seconds: float
    build_cpu_seconds: float
    expected_build_bytes: int
    build_bytes: int
    expected_file_bytes: int
    file_bytes: int
    recall: float
    effort: int
    search_one: float
    search_many: float


def bench_index(vectors: int, width: int, folder: Path, console: Console) -> Result:
    """Builds every kind of index over `vectors` made-up vectors of `width` numbers in `folder`.

    Raises UserError for sizes that make no sense or that the disk has no room for.
    """
    if vectors < 1000 or width < 8:
        raise UserError(f"--vectors {vectors} from 1,000, --width {width} from 8")
    needed = 4 * plan_index(vectors, width, WISHES["hnsw"]).file_bytes + _SPARE
    if needed > shutil.disk_usage(folder).free:
        raise UserError(f"{vectors} vectors need {size(needed)} in {folder}: give fewer, or another --folder")
    with tempfile.TemporaryDirectory(prefix="mipd-bench-", dir=folder) as inside:
        paths = StorePaths(Path(inside))
        _write(paths, vectors, width, console)
        figures = [_figures(paths, name, console) for name in WISHES]
    data = {"vectors": vectors, "width": width, "indexes": [asdict(each) for each in figures]}
    return Result(_text(vectors, width, figures), data)


def made_up(count: int, width: int, seed: int = 0) -> Floats:
    """Vectors [count, width] around topics, with most of their variance in few directions, as of texts."""
    # What is shared by all calls, then what is of this one's own.
    shared = np.random.default_rng(0)
    spectrum = np.arange(1, _LATENT + 1) ** -0.5
    topics = shared.standard_normal((_TOPICS, _LATENT))
    spread = (spectrum[:, None] * shared.standard_normal((_LATENT, width))).astype(np.float32)
    own = np.random.default_rng([1, seed])
    latent = topics[own.integers(_TOPICS, size=count)] + 0.7 * own.standard_normal((count, _LATENT))
    noise = own.standard_normal((count, width), np.float32)
    return np.asarray(latent.astype(np.float32) @ spread + 0.1 * noise, np.float32)


def _write(paths: StorePaths, vectors: int, width: int, console: Console) -> None:
    put_in_force(paths, RATIONALES, "bench")
    with console.progress("vectors", vectors) as advance:
        for begin in range(0, vectors, _PART):
            numbers = range(begin, min(begin + _PART, vectors))
            keys = [VectorKey(f"{i // len(KINDS):08d}.jpg", *KINDS[i % len(KINDS)]) for i in numbers]
            rows = [key.image for key in keys]
            part = write_vectors(
                paths, RATIONALES, keys, rows, made_up(len(numbers), width, begin), "bench", {}
            )
            add_parts(paths, [part])
            advance(len(numbers))


def _figures(paths: StorePaths, name: str, console: Console) -> IndexFigures:
    console.say(f"index {name}")
    built = in_new_process(_build, paths, WISHES[name])
    (record,) = index_records(paths)
    one, many = in_new_process(_search, paths, record.plan.width)
    return IndexFigures(
        name,
        str(record.plan),
        built["seconds"],
        built["cpu_seconds"],
        record.plan.build_bytes,
        built["bytes"],
        record.plan.file_bytes,
        record.bytes,
        record.trial.recall,
        record.trial.effort,
        one,
        many,
    )


def _build(paths: StorePaths, wish: IndexWish) -> dict[str, float]:
    import faiss  # its own memory is not the index's

    faiss.omp_get_max_threads()
    before, start, cpu = own_bytes(), time.monotonic(), time.process_time()
    with PeakMemory() as peak:
        build_index(paths, RATIONALES, {}, wish)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": peak() - before}


def _search(paths: StorePaths, width: int) -> tuple[float, float]:
    index = VectorIndex(paths, RATIONALES)
    queries = made_up(_MANY, width, seed=2**32)
    index.search(queries[:1], _NEAREST)
    single = []
    for query in queries[:_SINGLE]:
        start = time.monotonic()
        index.search(query[None], _NEAREST)
        single.append(time.monotonic() - start)
    start = time.monotonic()
    index.search(queries, _NEAREST)
    return median(single), (time.monotonic() - start) / _MANY


class PeakMemory:
    """Most memory of its own that the process held while a thread looked."""

    def __init__(self) -> None:
        self._most, self._over = own_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Callable[[], int]:
        self._thread.start()
        return lambda: self._most

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_TICK):
            self._most = max(self._most, own_bytes())


def _text(vectors: int, width: int, figures: list[IndexFigures]) -> str:
    head = ["index", "recall@10", "build s", "CPU s", "memory", "expected", "file", "expected"]
    head += ["ms a query", "of 1000"]
    rows = [
        [
            each.kind,
            round(each.recall, 3),
            round(each.build_seconds, 1),
            round(each.build_cpu_seconds, 1),
            size(each.build_bytes),
            size(each.expected_build_bytes),
            size(each.file_bytes),
            size(each.expected_file_bytes),
            round(1000 * each.search_one, 2),
            round(1000 * each.search_many, 2),
        ]
        for each in figures
    ]
    plans = [f"{each.kind}: {each.plan}; looks at {each.effort or 'all'}" for each in figures]
    return "\n".join([f"{vectors} vectors of {width} numbers", "", render(head, rows), "", *plans])

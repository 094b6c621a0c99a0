"""Asks the real engine about a few pictures, beside the store, to measure what all of them will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cache.order import shard_of
from cache.paths import StorePaths
from cache.rationales import read_quarantine
from pipeline.console import Console
from pipeline.forecast.experience import Experience, read_experience
from pipeline.forecast.hours import Rate, rate_of_probe
from pipeline.stage_one import Place, make_generator
from pipeline.workspace import Workspace
from stages.reporter import Advance
from stages.teacher.asking.dialogue import STAGE
from stages.teacher.asking.shard import Shard
from stages.teacher.generate import GenerateSummary

_SHARDS_TRIED = 64


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe brought: rows as in a store, requests and their time, and why pictures failed."""

    experience: Experience | None
    rate: Rate | None
    summary: GenerateSummary
    faults: tuple[str, ...]


class Stopwatch(Console):
    """Shows progress, writes no event, and measures the time of asking alone: models are loaded before."""

    def __init__(self) -> None:
        super().__init__(None)
        self.seconds = 0.0

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0, unit: str = "picture") -> Iterator[Advance]:
        start = time.monotonic()
        with super().progress(f"probe: {title}", total, done, unit) as advance:
            yield advance
        if title == STAGE:
            self.seconds += time.monotonic() - start


def probe(workspace: Workspace, pictures: int) -> Probed:
    """Asks about some `pictures` training pictures, spread over the data set by their names.

    Nothing of it reaches the store or the run's events. Raises as `generate-rationales` does, so that an
    engine that does not come up or obeys no schema shows before anything is spent.
    """
    settings = workspace.config.teacher
    with TemporaryDirectory(prefix="mipd-probe-") as folder:
        paths, watch = StorePaths(Path(folder) / "store"), Stopwatch()
        shard = probe_shard([sample.image for sample in workspace.data.split("train")], pictures)
        aside = Place(paths, Path(folder) / "request_keys.parquet", watch)
        with make_generator(workspace, shard, aside) as generator:
            summary = generator.run(max_failure_rate=1.0)
            identity = generator.engines.writer.identity()
        together = settings.requests == "together"
        experience = read_experience(paths, identity, together, least=1, verb="probed")
        faults = tuple(sorted(set(read_quarantine(paths)["reason"])))
    return Probed(experience, rate_of_probe(summary.requests, watch.seconds, settings), summary, faults)


def probe_shard(images: list[str], pictures: int) -> Shard:
    """The shard that holds nearest to so many of the images; shards are drawn by the images' names."""
    count = max(1, round(len(images) / pictures))
    sizes = Counter(shard_of(image, count) for image in images)
    tried = range(min(count, _SHARDS_TRIED))
    return Shard(min(tried, key=lambda number: (abs(sizes[number] - pictures), number)), count)

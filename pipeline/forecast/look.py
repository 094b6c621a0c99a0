"""A generator that changes nothing in the store unless it is told to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from cache.order import in_shard
from cache.paths import StorePaths
from pipeline.engines import make_engine, make_judge
from pipeline.stage_one import contrast_chooser
from pipeline.workspace import Workspace
from stages.reporter import Reporter
from stages.teacher import encoders
from stages.teacher.engine import Engines
from stages.teacher.generate import Generator
from stages.teacher.jsonl_texts import read_jsonl, with_texts
from stages.teacher.request_keys import RequestKeys
from stages.teacher.shard import Shard


@contextmanager
def open_generator(
    workspace: Workspace, paths: StorePaths, reporter: Reporter, keys: Path, shard: Shard
) -> Iterator[Generator]:
    """The generator that the settings describe, over another store or reporter than the run's own.

    Unlike `stage_one.make_generator` it adds no label vectors to the run's store. Its engines, which load
    nothing before they are asked, are closed at the end of the block.
    """
    config, data = workspace.config, workspace.data
    settings = config.teacher
    if settings.engine == "jsonl" and settings.jsonl is not None:
        data = with_texts(data, read_jsonl(settings.jsonl))
    images = [sample.image for sample in data.split("train")]
    with ExitStack() as opened:
        writer = opened.enter_context(closing(make_engine(workspace)))
        judge = make_judge(workspace)
        if judge is not None:
            opened.enter_context(closing(judge))
        yield Generator(
            data,
            workspace.check_pictures(in_shard(images, shard.number, shard.count)),
            Engines(writer, judge),
            contrast_chooser(workspace, encoders.open_text(config.embed.text), keep=False),
            settings,
            paths,
            RequestKeys(keys),
            reporter,
            workspace.producer,
            shard,
        )

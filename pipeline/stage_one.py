"""Stage one from a configuration: builds what the settings ask for and runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cache.order import in_shard
from cache.paths import StorePaths
from pipeline.engines import make_engine, make_judge
from pipeline.workspace import Workspace
from stages.data.swig import DataSet
from stages.plural import counted
from stages.reporter import Reporter
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.request_keys import RequestKeys
from stages.teacher.asking.role_nouns import count_nouns
from stages.teacher.asking.shard import Shard
from stages.teacher.embed import Embedder, Encoders
from stages.teacher.embedding.label_store import find_labels, store_labels
from stages.teacher.encoders import sources
from stages.teacher.encoders.encoder import TextEncoder
from stages.teacher.engines.engine import Engines
from stages.teacher.engines.jsonl_texts import left_out, read_jsonl, with_texts
from stages.teacher.generate import Generator


@dataclass(frozen=True, slots=True)
class Ask:
    """What one call of `generate-rationales` is to do, beside the configuration.

    shard         the pictures of one of several workers; None = all
    retry_failed  ask again for what is in quarantine
    budget_hours  begin no picture after this long; None = no bound
    """

    shard: Shard | None = None
    retry_failed: bool = False
    budget_hours: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generator writes and what it tells, where that is not the run's own: for a look, or a probe."""

    store: StorePaths
    keys: Path
    reporter: Reporter


def generate_rationales(workspace: Workspace, ask: Ask | None = None) -> bool:
    """`mipd-pipe generate-rationales`. False = the time allowed was over before everything was asked."""
    ask, config = ask or Ask(), workspace.config
    with workspace.stage("generate-rationales"), make_generator(workspace, ask.shard) as generator:
        summary = generator.run(config.max_failure_rate, ask.retry_failed, ask.budget_hours)
    workspace.console.say(
        f"{counted(summary.asked, 'picture')} asked: {counted(summary.rationales_accepted, 'rationale')} "
        f"accepted, {summary.rationales_rejected} rejected; {counted(summary.failed, 'picture')} failed"
    )
    return summary.left == 0


@contextmanager
def make_generator(
    workspace: Workspace, shard: Shard | None = None, place: Place | None = None
) -> Iterator[Generator]:
    """The generator that the settings describe; its engines are closed at the end of the block."""
    with ExitStack() as opened:
        writer = opened.enter_context(closing(make_engine(workspace)))
        judge = make_judge(workspace)
        if judge is not None:
            opened.enter_context(closing(judge))
        yield build_generator(workspace, Engines(writer, judge), shard or Shard(), place)


def build_generator(
    workspace: Workspace, engines: Engines, shard: Shard, place: Place | None = None
) -> Generator:
    """A generator that asks these engines; checks the shard's pictures first."""
    config, data = workspace.config, _training_texts(workspace)
    keep = place is None  # a look adds no label vectors to the run's store
    place = place or Place(workspace.store, config.run_dir / "request_keys.parquet", workspace.console)
    images = [sample.image for sample in data.split("train")]
    with closing(sources.open_text(config.embed.text)) as encoder:  # the engines need the memory
        chooser = contrast_chooser(workspace, encoder, keep)
    return Generator(
        data,
        workspace.check_pictures(in_shard(images, shard.number, shard.count)),
        engines,
        chooser,
        config.teacher,
        place.store,
        RequestKeys(place.keys),
        place.reporter,
        workspace.producer,
        shard,
    )


def _training_texts(workspace: Workspace) -> DataSet:
    """The data set; with the texts of a file where the settings import one."""
    settings, data = workspace.config.teacher, workspace.data
    if settings.engine != "jsonl" or settings.jsonl is None:
        return data
    texts = read_jsonl(settings.jsonl)
    for note in left_out(settings.jsonl, data, texts):
        workspace.console.say(f"note: {note}")
    return with_texts(data, texts)


def embed_teacher(workspace: Workspace) -> None:
    """`mipd-pipe embed-teacher`."""
    config = workspace.config
    with workspace.stage("embed-teacher"):
        frozen = Encoders(
            teacher_vision=sources.open_vision(config.embed.teacher_vision, workspace.console.say),
            student_vision=sources.open_vision(config.embed.student_vision, workspace.console.say),
            text=sources.open_text(config.embed.text, workspace.console.say),
        )
        embedder = Embedder(
            workspace.data,
            workspace.ledger,
            frozen,
            config.embed,
            workspace.store,
            workspace.console,
            workspace.producer,
        )
        embedder.run(config.max_failure_rate)


def contrast_chooser(workspace: Workspace, encoder: TextEncoder, keep: bool = True) -> ContrastChooser:
    """Contrasts among the seen verbs, near each other in the text space that labels use.

    keep   label vectors that the store lacks are added to it, so that the next call need not encode them
    """
    data, config = workspace.data, workspace.config
    given = (workspace.store, data.vocabulary, encoder, config.embed)
    vectors = store_labels(*given, workspace.producer) if keep else find_labels(*given)
    trained = Counter(sample.verb for sample in data.split("train"))
    return ContrastChooser(
        data.vocabulary,
        vectors["verbs"],
        verb_counts={verb: trained[verb] for verb, subset in data.subset_of.items() if subset != "unseen"},
        role_nouns=count_nouns(data.split("train"), data.vocabulary),
        k=config.teacher.contrast_k,
        seed=config.teacher.seed,
        noun_vectors=vectors["nouns"],
    )

"""`mipd-pipe plan`: what a run will take, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cache.errors import MachineError, UserError
from cache.rationales import read_rationales
from pipeline.checks.model_files import NotFetchedError, require_model
from pipeline.checks.needs import needs_of
from pipeline.checks.place_checks import require_endpoint
from pipeline.forecast import disk, hours, memory, requests, tokens
from pipeline.forecast.experience import Experience, read_experience
from pipeline.forecast.fit import Shortage, disk_shortage, memory_shortages
from pipeline.forecast.probe import Probed, probe
from pipeline.forecast.text import plan_text
from pipeline.machine import Machine, disk_of, look_at_machine
from pipeline.result import Result
from pipeline.stage_one import Place, make_generator
from pipeline.workspace import Workspace
from stages.teacher.asking.plan import GeneratePlan
from stages.teacher.engines.vllm_settings import EXAMPLE


@dataclass(frozen=True, slots=True)
class _Teaching:
    """What is left for teacher and judge.

    reason   why `left` is None
    missing  it is None because something is not there that no waiting brings, as a model's folder
    """

    left: GeneratePlan | None
    reason: str
    missing: bool
    work: requests.Work
    written: tokens.Tokens | None
    experience: Experience | None
    identity: Mapping[str, Any] | None


def plan(
    workspace: Workspace, pictures: int = 0, retry_failed: bool = False, machine: Machine | None = None
) -> Result:
    """Reads configuration, data and store; exit code 1 where something is missing or will not fit.

    pictures      to probe the real engine with; 0 = none
    retry_failed  reckon with what is in quarantine, as `generate-rationales --retry-failed` would

    Changes nothing in the store. Raises UserError where the data set cannot be read, and what
    `generate-rationales` raises where a probe fails.
    """
    machine = machine or look_at_machine()
    probed = probe(workspace, pictures) if pictures else None
    teaching = _teaching(workspace, probed, retry_failed)
    items = _items(workspace, teaching)
    needs = list(memory.model_needs(needs_of(workspace.config), machine))
    shortages = list(_shortages(workspace, machine, items, needs))
    data = {
        **_teaching_data(workspace, teaching, probed),
        "disk": {
            "items": [asdict(item) for item in items],
            "needed": asdict(disk.known_bytes(items)),
            "free": disk_of(workspace.store.root).free,
            "folder": str(workspace.store.root),
        },
        "memory": [asdict(need) for need in needs],
        "will_not_fit": [asdict(shortage) for shortage in shortages if shortage.sure],
        "may_not_fit": [asdict(shortage) for shortage in shortages if not shortage.sure],
        "missing": teaching.reason if teaching.missing else "",
    }
    cannot_begin = teaching.missing or any(shortage.sure for shortage in shortages)
    return Result(plan_text(data), data, exit_code=int(cannot_begin))


def _teaching(workspace: Workspace, probed: Probed | None, retry_failed: bool) -> _Teaching:
    """A model or endpoint out of reach leaves open which pictures are finished, for their keys name it."""
    settings, run_dir = workspace.config.teacher, workspace.config.run_dir
    training = len(workspace.data.split("train"))
    keys = run_dir / "request_keys.parquet"
    try:
        _require_models(workspace)
        look = Place(workspace.store, keys, workspace.console)
        with make_generator(workspace, place=look) as generator:
            left = generator.plan(retry_failed)
            identity = generator.engines.writer.identity()
            experience = read_experience(workspace.store, identity, settings.requests == "together")
            if experience is None and probed is not None:
                experience = probed.experience
            work = requests.forecast_work(left.todo, settings, experience)
            written = tokens.per_request(generator, left.todo, settings, experience)
            return _Teaching(left, "", False, work, written, experience, identity)
    except (UserError, MachineError) as reason:
        begun = read_rationales(workspace.store, ["image"])["image"].n_unique()
        work = requests.at_most(training, begun, settings)
        missing = isinstance(reason, UserError) and not isinstance(reason, NotFetchedError)
        return _Teaching(None, str(reason), missing, work, None, None, None)


def _require_models(workspace: Workspace) -> None:
    """Those that decide what is asked: the text encoder draws contrasts, the others are in the keys."""
    needs = needs_of(workspace.config)
    disk.require_encoder(workspace.config.embed.text)
    for settings in needs.vllm.values():
        require_model(settings.model, settings.revision, EXAMPLE)
    for path, server in needs.servers.items():
        if not server.model:  # only an endpoint knows its name
            require_endpoint(path, server)


def _items(workspace: Workspace, teaching: _Teaching) -> list[disk.Item]:
    left = teaching.left
    unusable = {failure.image for failure in left.failures} if left else set()
    to_ask = {sample.image for sample, _ in left.todo} if left else set()
    return [
        disk.rationale_bytes(teaching.work, teaching.experience),
        *disk.embedding_bytes(workspace.data, unusable, to_ask, workspace.config.embed, workspace.store),
    ]


def _shortages(
    workspace: Workspace, machine: Machine, items: Sequence[disk.Item], needs: Sequence[memory.Need]
) -> Iterator[Shortage]:
    folder = workspace.store.root
    yield from disk_shortage(disk.known_bytes(items), disk_of(folder).free, folder)
    yield from memory_shortages(needs)
    for what, mend in memory.gpu_conflicts(needs_of(workspace.config), machine):
        yield Shortage(what, True, mend)


def _teaching_data(workspace: Workspace, teaching: _Teaching, probed: Probed | None) -> dict[str, Any]:
    settings, work = workspace.config.teacher, teaching.work
    judged = tokens.per_verdict(teaching.written, settings)
    total_in, total_out = tokens.sums(work, teaching.written, judged)
    known = teaching.written is not None or not settings.asks_model or not work.pictures
    return {
        "engine": settings.engine,
        "unknown": teaching.reason,
        "pictures": _counts(teaching.left, work.pictures),
        "requests": {
            "mode": settings.requests,
            "judge": settings.judge.by,
            "writing": asdict(work.writing),
            "judging": asdict(work.judging),
            "rows": asdict(work.rows),
            "basis": work.basis,
        },
        "tokens": {
            "per_request": None if teaching.written is None else asdict(teaching.written),
            "per_verdict": None if judged is None else asdict(judged),
            "in": asdict(total_in) if known else None,
            "out": asdict(total_out) if known else None,
        },
        "hours": _hours(workspace, teaching, probed),
        "probe": None if probed is None else _probe_data(probed),
    }


def _counts(left: GeneratePlan | None, at_most: int) -> dict[str, int | None]:
    if left is None:
        names = ("finished", "changed", "reverted", "failed_before", "unusable")
        return {"training": at_most, "to_ask": None, **dict.fromkeys(names)}
    return {
        "training": left.total,
        "to_ask": len(left.todo),
        "changed": left.changed,
        "finished": left.kept,
        "reverted": len(left.revive),
        "failed_before": left.failed_before,
        "unusable": len(left.failures),
    }


def _hours(workspace: Workspace, teaching: _Teaching, probed: Probed | None) -> dict[str, Any] | None:
    """By the probe, else by this run's own calls with the same teacher."""
    rate = probed.rate if probed is not None else None
    if rate is None and teaching.identity is not None:
        rate = hours.rate_of_calls(workspace.config.run_dir / "events.jsonl", teaching.identity)
    if rate is None:
        return None
    return {**asdict(hours.hours(teaching.work.requests, rate)), "rate": asdict(rate)}


def _probe_data(probed: Probed) -> dict[str, Any]:
    summary, experience = probed.summary, probed.experience
    return {
        "pictures": summary.asked,
        "failed": summary.failed,
        "faults": list(probed.faults),
        "requests": summary.requests,
        "complete": None if experience is None else experience.complete,
        "accepted": summary.rationales_accepted,
        "rejected": summary.rationales_rejected,
        "warning": summary.warning,
    }

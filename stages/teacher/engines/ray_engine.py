"""Copies of an engine as actors on a Ray cluster. No other file imports ray.

Plain actors rather than Ray Data: its vLLM stage loses the reason an answer ended, so a cut one could not be
told from a whole one, and its multimodal path does not import beside vLLM 0.32.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any

from cache.errors import MachineError, UserError
from stages.plural import counted
from stages.printable import printable
from stages.reporter import SilentReporter
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.engine_worker import Maker, Say
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.ray_output import give_stdout_back, keep_ray_off_stdout
from stages.teacher.engines.ray_settings import RaySettings
from stages.teacher.engines.ray_worker import RayWorker, ShardResult

SHARDS_AHEAD = 2  # for each worker: the one it works on, and one so that it never waits
# Read by Ray when it is imported, here and on a local cluster; the user's own values win.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what becomes the default; without it Ray warns
}
LOGS = "/tmp/ray/session_latest/logs"
_FAREWELL = 30.0  # seconds given to engines to close
DOUBTS = 3  # shards that fail with none finished in between: then it is the cluster, not they

Shard = list[Request]


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A shard that failed as often as is allowed; another one that finishes shows that it is to blame."""

    shard: Shard
    reason: MachineError
    why: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A shard that a worker has; `alone`: with no other beside it, so the worker's death is its doing."""

    number: int
    shard: Shard
    alone: bool


class RayEngine:
    """Hands shards of requests to Ray workers; joins or starts the cluster at the first request.

    Ray places the workers, starts those that died again and repeats their shards, on other nodes where one is
    lost: nothing of a shard has come back before, so nothing comes twice. One that still fails when
    `restarts` are used up is set aside: its requests are answered with an error, and the others go on with a
    new worker. Where `DOUBTS` of them fail in a row, or no shard ever finished, the cluster is at fault.

    make  makes an engine that says its lines through its argument; is pickled, so nodes need this package
    """

    def __init__(self, make: Maker, settings: RaySettings, say: Say | None = None) -> None:
        self.settings = settings
        self._make, self._say = make, say or SilentReporter().say
        self._reference = make(self._say)  # never loaded: it tells its identity
        self._workers: list[Any] = []
        self._own_cluster = False
        self._open: dict[Any, _Given] = {}  # by the object reference of what comes back
        self._again: list[Shard] = []  # lost with a worker whose engine another shard ended
        self._suspects: list[Shard] = []  # lost with a worker that one of them ended; each is tried alone
        self._doubts: list[_Doubt] = []
        self._finished = 0  # shards

    def identity(self) -> Mapping[str, Any]:
        """That of the engine: where it runs decides no answer."""
        return self._reference.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.answer`. Takes requests a shard at a time; the last one may be smaller.

        Raises UserError where Ray is missing or the cluster too small, MachineError where shards fail as
        often as `restarts` allow and the cluster is to blame.
        """
        self._start()
        self._again, self._suspects, self._doubts = [], [], []
        source = iter(requests)
        try:
            while True:
                self._hand_out(source)
                if not self._open:
                    yield from self._set_aside()
                    return
                yield from self._collect()
        finally:
            if self._open or self._doubts:  # no later call may meet answers to this one, or a dead worker
                self._drop_workers()

    def close(self) -> None:
        """Ends the workers, and the cluster where this engine started it. May be called twice."""
        if self._workers and not self._open:
            self._say_farewell()
        self._drop_workers()
        if self._own_cluster:
            import ray

            with redirect_stdout(sys.stderr):  # here it prints what it held back
                ray.shutdown()
            give_stdout_back()
            self._own_cluster = False
        self._reference.close()

    def _start(self) -> None:
        if self._workers:
            return
        self._own_cluster = _connect(self.settings.address) or self._own_cluster
        import ray

        self._check_room(ray.cluster_resources())  # type: ignore[no-untyped-call]
        self._workers = [self._new_worker() for _ in range(self.settings.workers)]

    def _new_worker(self) -> Any:
        import ray

        settings = self.settings
        actor = ray.remote(
            num_cpus=settings.cpus_per_worker,
            num_gpus=settings.gpus_per_worker,
            max_restarts=settings.restarts,
            max_task_retries=settings.restarts,
        )(RayWorker)
        return actor.remote(self._make)

    def _check_room(self, there: Mapping[str, float]) -> None:
        """Workers that find no place would be waited for without an end; a cluster elsewhere may grow."""
        settings, missing = self.settings, []
        for name, each in (("GPU", settings.gpus_per_worker), ("CPU", settings.cpus_per_worker)):
            if each * settings.workers > there.get(name, 0):
                missing.append(f"{each * settings.workers:g} {name}s of {there.get(name, 0):g}")
        if not missing:
            return
        need = f"{settings.workers} workers need {' and '.join(missing)} in the Ray cluster"
        if not settings.address:
            raise UserError(
                f"{need}; lower teacher.ray.workers, gpus_per_worker (0 without a GPU) or cpus_per_worker, "
                "or name a larger cluster in teacher.ray.address"
            )
        self._say(f"{need}; those without a place wait until it grows")

    def _hand_out(self, source: Iterator[Request]) -> None:
        """Gives each worker up to `SHARDS_AHEAD` shards, the idlest first, as far as there are requests."""
        while True:
            held = [given.number for given in self._open.values()]
            alone = [given.number for given in self._open.values() if given.alone]
            free = [
                number
                for number in range(len(self._workers))
                if number not in alone and held.count(number) < SHARDS_AHEAD
            ]
            if not free:
                return
            number = min(free, key=held.count)
            suspect = bool(self._suspects) and number not in held
            shard = self._suspects.pop(0) if suspect else self._next(source)
            if not shard:
                return
            answer = self._workers[number].answer.options(retry_exceptions=[MachineError])
            self._open[answer.remote(shard)] = _Given(number, shard, suspect)

    def _next(self, source: Iterator[Request]) -> Shard:
        """Empty where there are no more requests."""
        return self._again.pop(0) if self._again else list(islice(source, self.settings.requests_per_shard))

    def _collect(self) -> Iterator[Answer]:
        """Waits for a shard and yields its answers, and those of the shards that it shows to be at fault."""
        import ray
        from ray.exceptions import RayError

        (done,), _ = ray.wait(list(self._open))
        try:
            result: ShardResult = ray.get(done)
        except RayError as reason:
            self._doubt(done, reason)
            return
        given = self._open.pop(done)
        self._finished += 1
        self._tell(given.number, result.lines)
        yield from result.answers
        yield from self._set_aside()

    def _doubt(self, done: Any, reason: Exception) -> None:
        """Gives the shard up for now, and its worker another life; what else it held is handed out again.

        Raises UserError or MachineError where it is not the shard that is to blame.
        """
        import ray

        why = self._why(reason)
        number, alone = self._open[done].number, self._open[done].alone
        own = [reference for reference, given in self._open.items() if given.number == number]
        shards = {reference: self._open.pop(reference).shard for reference in own}
        if getattr(reason, "cause", None) is None and not alone:
            # The worker died with all of them: one may be done, its answers on their way, and another may
            # have used up the lives that Ray gives a worker.
            self._suspects += shards.values()
        else:
            shard = shards.pop(done)
            self._again += shards.values()
            self._doubts.append(_Doubt(shard, self._failure(len(shard), why), why))
            if len(self._doubts) >= DOUBTS:
                raise self._doubts[0].reason from reason
        ray.kill(self._workers[number])
        self._workers[number] = self._new_worker()

    def _set_aside(self) -> Iterator[Answer]:
        """Answers with an error for the shards in doubt. Raises MachineError where no shard ever finished."""
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            if not self._finished:
                raise doubt.reason
            tries, smaller = self.settings.restarts + 1, max(1, self.settings.requests_per_shard // 8)
            name = _name(doubt.shard)
            self._say(
                f"{name} set aside: it failed {tries} times on the Ray cluster ({doubt.why}). The others go "
                "on. Ask again in smaller shards to find the one at fault: `mipd-pipe generate-rationales "
                f"--retry-failed --set teacher.ray.requests_per_shard={smaller}`"
            )
            error = f"{name} failed {tries} times on the Ray cluster: {doubt.why}"
            yield from (Answer(request.key, "", "error", error=error) for request in doubt.shard)

    def _why(self, reason: Exception) -> str:
        """What a shard failed of. Raises UserError or MachineError where others would fail of it too."""
        cause = getattr(reason, "cause", None)
        if isinstance(cause, UserError):
            raise UserError(f"a Ray worker: {cause}") from reason
        why = (str(cause) if isinstance(cause, MachineError) else _fault(reason)).rstrip(".")
        if cause is None and "creation task" in plain(reason):
            raise self._failure(self.settings.requests_per_shard, why) from reason
        return why

    def _failure(self, size: int, why: str) -> MachineError:
        return MachineError(
            f"a shard of {size} requests failed on the Ray cluster, repeated {self.settings.restarts} times "
            f"(teacher.ray.restarts): {why}. The workers' own messages are in Ray's logs, by default in "
            f"{LOGS} of their nodes. Everything finished is kept: run the same command again"
        )

    def _say_farewell(self) -> None:
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):  # a dead worker has nothing to free
            said = ray.get([worker.close.remote() for worker in self._workers], timeout=_FAREWELL)
            for number, lines in enumerate(said):
                self._tell(number, lines)

    def _tell(self, number: int, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(f"worker {number + 1} of {len(self._workers)}: {line}")

    def _drop_workers(self) -> None:
        if not self._workers:
            return
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers, self._open = [], {}


def _name(shard: Shard) -> str:
    """What a shard is called in messages: its size, and the pictures that it begins and ends with."""
    first, last = printable(shard[0].sample.image), printable(shard[-1].sample.image)
    return f"the shard of {counted(len(shard), 'request')} from {first} to {last}"


def _fault(reason: Exception) -> str:
    """What happened, from Ray's report of it: an exception raised over there stands in the last line."""
    cause = getattr(reason, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {plain(cause)}"
    if "creation task" in plain(reason):
        return f"a worker could not be made: {str(reason).strip().splitlines()[-1]}"
    return plain(reason)


def _connect(address: str) -> bool:
    """Joins the cluster at `address`, or starts one here. False = there was a connection before."""
    if find_spec("ray") is None:
        raise UserError("ray is not installed; install it on every node: `pip install 'mipd-pipe[ray]'`")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return False
    keep_ray_off_stdout()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, logging_level=logging.WARNING)
        else:
            ray.init(include_dashboard=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as reason:
        raise _unreachable(address, reason) from reason
    with suppress(ValueError):  # Ray takes the signal over; only the main thread can have it back
        signal.signal(signal.SIGTERM, before)
    return True


def _unreachable(address: str, reason: Exception) -> Exception:
    if not address:
        return MachineError(f"Ray did not start on this machine: {plain(reason)}")
    return UserError(
        f"no Ray cluster can be joined at teacher.ray.address {address!r} ({plain(reason)}); "
        "start one with `ray start --head`, or leave the address empty to use this machine alone"
    )

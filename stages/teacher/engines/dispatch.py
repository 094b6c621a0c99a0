"""Spreads requests over endpoints: who is asked, what is asked again, who is dead and who is back.

All state belongs to the thread that takes the answers. Calls run elsewhere and come back through an inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from cache.errors import MachineError, UserError
from stages.teacher.engines.call_thread import CallThread
from stages.teacher.engines.chat import Reply
from stages.teacher.engines.clock import Clock
from stages.teacher.engines.endpoint import BusyError, Endpoint, FaultyError, RefusedError, UnfitError
from stages.teacher.engines.engine import Answer, Request
from stages.teacher.engines.seat import DEATHS, Job, Seat
from stages.teacher.engines.server_settings import ServerSettings

Ask = Callable[[Endpoint, Request], Coroutine[Any, Any, tuple[Reply, float]]]

LONGEST_BACKOFF = 60.0  # seconds
CHECK_SECONDS = 5.0  # between two looks at an endpoint that is dead


class Dispatch:
    """One pass over requests.

    ask   sends one request to one endpoint; returns the reply and its seconds
    say   told in one line when an endpoint dies and when it is back
    """

    def __init__(
        self,
        endpoints: list[Endpoint],
        model: str,
        ask: Ask,
        settings: ServerSettings,
        thread: CallThread,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._seats = [Seat(endpoint) for endpoint in endpoints]
        self._model, self._ask, self._settings = model, ask, settings
        self._thread, self._clock, self._say = thread, clock, say
        self._inbox: SimpleQueue[Future[Any]] = SimpleQueue()
        self._calls: dict[Future[Any], tuple[Seat, Job | None]] = {}
        self._waiting: list[Job] = []
        self._held = 0  # requests taken and not yet answered
        self._dry = False
        self._dark_since: float | None = None

    def answers(self, requests: Iterator[Request]) -> Iterator[Answer]:
        """See `Engine.answer`.

        Raises MachineError when no endpoint has been of use for too long, UserError as soon as all of them
        are there and none serves the teacher.
        """
        self._dark_since = self._clock.now()
        try:
            while True:
                self._fill(requests)
                if self._dry and not self._held:
                    return
                self._check_dead()
                done = self._clock.wait(self._inbox, self._pause(), len(self._calls))
                if done is not None:
                    for answer in self._take(done):
                        self._held -= 1
                        yield answer
        finally:  # an endpoint stops writing answers that nobody waits for
            for call in self._calls:
                call.cancel()

    def _check_dead(self) -> None:
        now = self._clock.now()
        if self._dark_since is not None and now - self._dark_since >= self._settings.dead_after_seconds:
            raise self._all_dead()
        for seat in self._seats:
            if not seat.alive and not seat.checking and now >= seat.check_at:
                self._check(seat)

    def _fill(self, requests: Iterator[Request]) -> None:
        """Sends what is due, then what is new. One request is taken even where no endpoint has room for it:
        whether any is left decides whether there is anything to wait for."""
        self._send_due()
        while not self._dry and (not self._held or self._has_room()):
            request = next(requests, None)
            if request is None:
                self._dry = True
            else:
                self._held += 1
                self._waiting.append(Job(request, self._clock.now()))
                self._send_due()

    def _has_room(self) -> bool:
        """Whether a new request can be sent at once. Those in their pause may pile up to a bound alone."""
        bound = 2 * self._settings.concurrency * len(self._seats)
        return self._held < bound and any(self._is_free(seat) for seat in self._seats)

    def _is_free(self, seat: Seat) -> bool:
        return (
            all(seat.known for seat in self._seats)  # a wrong address is told before anything is spent
            and seat.alive
            and not seat.checking
            and len(seat.open) < self._settings.concurrency
            and self._clock.now() >= seat.paused_until
        )

    def _send_due(self) -> None:
        now = self._clock.now()
        for job in sorted((job for job in self._waiting if job.due <= now), key=lambda job: job.due):
            seats = [seat for seat in self._seats if self._is_free(seat)]
            if job.suspect:
                seats = [seat for seat in seats if not any(other.suspect for other in seat.open)]
            if seats:
                self._waiting.remove(job)
                self._send(job, min(seats, key=lambda seat: (seat is job.failed_at, len(seat.open))))

    def _send(self, job: Job, seat: Seat) -> None:
        seat.open.append(job)
        self._call(self._ask(seat.endpoint, job.request), seat, job)

    def _check(self, seat: Seat) -> None:
        seat.checking = True
        seat.on_trial, seat.doubted = seat.doubted, []
        self._call(seat.endpoint.check(self._model), seat, None)

    def _call(self, call: Coroutine[Any, Any, Any], seat: Seat, job: Job | None) -> None:
        future = self._thread.submit(call)
        self._calls[future] = (seat, job)
        future.add_done_callback(self._inbox.put)

    def _pause(self) -> float | None:
        """Seconds until there is something to do without any call coming back; None where there is not."""
        now = self._clock.now()
        moments = [seat.check_at for seat in self._seats if not seat.alive and not seat.checking]
        moments += [seat.paused_until for seat in self._seats if seat.alive and seat.paused_until > now]
        moments += [job.due for job in self._waiting if job.due > now]
        if self._dark_since is not None:
            moments.append(self._dark_since + self._settings.dead_after_seconds)
        return max(min(moments) - now, 0.0) if moments else None

    def _take(self, call: Future[Any]) -> list[Answer]:
        """The answers that a call which came back decides."""
        seat, job = self._calls.pop(call)
        if job is None:
            return self._take_check(seat, call)
        seat.open.remove(job)
        try:
            reply, seconds = call.result()
        except RefusedError as reason:
            return [_failed(job, str(reason))]
        except BusyError as reason:
            return self._charge(job, seat, reason)
        except UnfitError as reason:
            return [*self._bury(seat, reason), *self._charge(job, seat, reason)]
        except FaultyError as reason:
            job.fault = reason
            seat.doubted.append(job)
            if not seat.checking:
                self._check(seat)
            return []
        key, tokens = job.request.key, (reply.tokens_in, reply.tokens_out)
        return [Answer(key, reply.text, reply.finish_reason, *tokens, seconds, reply.error)]

    def _take_check(self, seat: Seat, call: Future[Any]) -> list[Answer]:
        """Decides whose fault it was that requests failed: their own, or that the endpoint is dead."""
        seat.checking = False
        try:
            call.result()
        except (FaultyError, UnfitError) as reason:
            return self._bury(seat, reason)
        if seat.known and not seat.alive:
            self._say(f"{seat.endpoint.url} is back")
        seat.alive, seat.known, seat.unfit = True, True, False
        self._dark_since = None
        jobs, seat.on_trial = seat.on_trial, []
        if seat.doubted:  # they failed after this look at the endpoint began
            self._check(seat)
        return [answer for job in jobs for answer in self._charge(job, seat, _fault(job))]

    def _bury(self, seat: Seat, reason: FaultyError | UnfitError) -> list[Answer]:
        """Takes an endpoint out until it is looked at again. Raises UserError where no other may serve."""
        now, unfit, known_unfit = self._clock.now(), isinstance(reason, UnfitError), seat.unfit
        seat.unfit = unfit
        if unfit and all(other.unfit for other in self._seats):
            whys = [other.why for other in self._seats if other is not seat]
            raise UserError("; ".join([*whys, str(reason)]))
        if seat.alive or not seat.known or (unfit and not known_unfit):
            self._say(f"{reason}; looked at again every {CHECK_SECONDS:g} seconds")
        seat.alive, seat.known, seat.why = False, True, str(reason)
        seat.check_at = now + max(CHECK_SECONDS, reason.pause)
        if self._dark_since is None and not any(other.alive for other in self._seats):
            self._dark_since = now
        jobs, seat.on_trial, seat.doubted = seat.on_trial + seat.doubted, [], []
        answers = []
        for job in jobs:
            job.deaths += _fault(job).arrived and not unfit
            job.due, job.failed_at = now, seat
            if job.deaths < DEATHS:
                self._waiting.append(job)
            else:
                answers.append(_failed(job, f"an endpoint died {DEATHS} times under it ({_fault(job)})"))
        return answers

    def _charge(self, job: Job, seat: Seat, fault: FaultyError | UnfitError) -> list[Answer]:
        """Counts a failure at a living endpoint: the request waits and is sent again, or has failed."""
        now = self._clock.now()
        seat.paused_until = max(seat.paused_until, now + fault.pause)
        job.tries += 1
        if job.tries > self._settings.retries:
            return [_failed(job, f"{fault} (sent {job.tries} times)")]
        job.due = now + min(self._settings.backoff_seconds * 2 ** (job.tries - 1), LONGEST_BACKOFF)
        job.failed_at = seat
        self._waiting.append(job)
        return []

    def _all_dead(self) -> MachineError:
        known = "; ".join(seat.why or f"{seat.endpoint.url} has not answered yet" for seat in self._seats)
        return MachineError(
            f"no endpoint of teacher.server.urls has been alive for {self._settings.dead_after_seconds:g} "
            f"seconds: {known}. Start one of them, or mend teacher.server.urls; everything finished is kept: "
            "run the same command again"
        )


def _fault(job: Job) -> FaultyError:
    assert job.fault is not None
    return job.fault


def _failed(job: Job, error: str) -> Answer:
    return Answer(job.request.key, "", "error", error=error)

"""All dialogues of one call at once, and the requests that wait for the two engines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from cache.errors import FindingsError
from stages.data.sample import Sample
from stages.reporter import Advance
from stages.teacher.asking.dialogue import Dialogue, Prior
from stages.teacher.asking.part_buffer import PartBuffer
from stages.teacher.engines.engine import Engine, Engines, Request
from stages.teacher.settings import TeacherSettings


class Talk:
    """Keeps the engines fed, brings each answer to its dialogue, and finished ones to the buffer.

    begin   makes the dialogue of a picture
    Counts: pictures `begun`, answered `requests`, and their tokens.
    """

    def __init__(
        self,
        engines: Engines,
        settings: TeacherSettings,
        begin: Callable[[Sample, Prior], Dialogue],
        buffer: PartBuffer,
    ) -> None:
        self._engines, self._settings, self._begin, self._buffer = engines, settings, begin, buffer
        self.begun = self.requests = self.tokens_in = self.tokens_out = 0
        self._fresh: Iterator[tuple[Sample, Prior]] = iter(())
        self._all_begun = False
        self._first_finished = 0  # pictures that no earlier call asked about
        self._to_write: deque[Request] = deque()
        self._to_judge: deque[Request] = deque()
        self._open: dict[str, Dialogue] = {}  # by the key of each request that has no answer yet

    def hold(self, fresh: Iterable[tuple[Sample, Prior]], advance: Advance) -> None:
        """Asks and judges until all the `fresh` pictures, taken one by one, are finished."""
        self._fresh, self._all_begun = iter(fresh), False
        while True:
            self._pass(self._engines.writer, self._writing(), advance)
            if self._engines.judge is not None:
                self._pass(self._engines.judge, _drain(self._to_judge), advance)
            if self._all_begun and not (self._to_write or self._to_judge):
                break
        assert not self._open, f"an engine ended without an answer to {next(iter(self._open))!r}"

    def _pass(self, engine: Engine, requests: Iterator[Request], advance: Advance) -> None:
        for answer in engine.answer(requests):
            self.requests += 1
            self.tokens_in += answer.tokens_in
            self.tokens_out += answer.tokens_out
            dialogue = self._open.pop(answer.key)
            self._queue(dialogue, dialogue.take(answer))
            if dialogue.finished:
                self._buffer.finish(dialogue.rows, dialogue.failure, dialogue.was_useful)
                self._first_finished += dialogue.is_first
                self._check_worth()
                advance(1)

    def _writing(self) -> Iterator[Request]:
        """Begun pictures before new ones, so that few are open at a time.

        Ends early where another engine has enough to judge: its turn comes when this one is empty.
        """
        own_judge = self._engines.judge is None
        while own_judge or len(self._to_judge) < self._settings.judge.pictures_at_once:
            if own_judge and self._to_judge:
                yield self._to_judge.popleft()
            elif self._to_write:
                yield self._to_write.popleft()
            elif not self._begin_next():
                return

    def _begin_next(self) -> bool:
        fresh = next(self._fresh, None)
        if fresh is None:
            self._all_begun = True
            return False
        self.begun += 1
        dialogue = self._begin(*fresh)
        self._queue(dialogue, dialogue.begin())
        return True

    def _queue(self, dialogue: Dialogue, requests: Sequence[Request]) -> None:
        for request in requests:
            self._open[request.key] = dialogue
            (self._to_judge if request.judged else self._to_write).append(request)

    def _check_worth(self) -> None:
        """Raises FindingsError where the first pictures show that the teacher does not do its work.

        Those that an earlier call asked about are the hard ones, and show nothing.
        """
        bound = self._settings.give_up_after
        if bound and self._first_finished == bound and not self._buffer.accepted:
            raise FindingsError(
                f"the first {bound} pictures gave not one accepted rationale (teacher.give_up_after), so the "
                "rest was not begun; what was written is kept. See why with `mipd-pipe inspect summary` and "
                "`mipd-pipe inspect rows --status rejected` (or failed), then change model or prompt"
            )


def _drain(requests: deque[Request]) -> Iterator[Request]:
    while requests:
        yield requests.popleft()

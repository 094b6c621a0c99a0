"""An endpoint's place in the dispatch, and a request's."""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.teacher.engines.endpoint import Endpoint, FaultyError
from stages.teacher.engines.engine import Request

# One request may be what kills its endpoint. One that was in flight at SUSPECT deaths goes without others
# like it, so that at the next death only one of them was there, and after DEATHS it has failed.
SUSPECT, DEATHS = 2, 5


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way; `tries` counts its failures at living endpoints, `deaths` those of endpoints."""

    request: Request
    due: float
    tries: int = 0
    deaths: int = 0
    fault: FaultyError | None = None
    failed_at: Seat | None = None

    @property
    def suspect(self) -> bool:
        return self.deaths >= SUSPECT


@dataclass(slots=True, eq=False)
class Seat:
    """What is known of an endpoint. `doubted` jobs failed there and wait to hear whether it is alive.

    unfit  it was there at the last look, and does not serve the teacher
    """

    endpoint: Endpoint
    alive: bool = False
    known: bool = False
    checking: bool = False
    check_at: float = 0.0
    why: str = ""
    unfit: bool = False
    paused_until: float = 0.0
    open: list[Job] = field(default_factory=list)
    doubted: list[Job] = field(default_factory=list)
    on_trial: list[Job] = field(default_factory=list)

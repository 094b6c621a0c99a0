"""How fast requests were answered, here and now or in earlier calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.forecast.spread import Spread
from stages.teacher.settings import TeacherSettings


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second, and what that comes from."""

    requests: Spread
    basis: str


def rate_of_calls(events: Path, teacher: Mapping[str, Any]) -> Rate | None:
    """Of the calls of `generate-rationales` that ended, from the slowest to the fastest; None without one.

    A call's time runs from its first request to its last answer. Of workers that shared one file of events
    each is a call, so this is the rate of one worker. Calls with another teacher do not count.
    """
    wanted = {"event": "rationales-finished", "teacher": teacher["teacher"], "revision": teacher["revision"]}
    same = [event for event in _read(events) if wanted.items() <= event.items() and event["requests"]]
    counts, seconds = [event["requests"] for event in same], [event["seconds"] for event in same]
    rates = [count / taken for count, taken in zip(counts, seconds, strict=True) if taken > 0]
    if not rates:
        return None
    calls = "call" if len(rates) == 1 else "calls"
    spread = Spread(min(rates), sum(counts) / sum(seconds), max(rates))
    return Rate(spread, f"measured on {len(rates)} {calls}, {sum(counts)} requests by one worker")


def _read(events: Path) -> list[dict[str, Any]]:
    """Whole events; the last line of a killed process may be half of one."""
    found = []
    try:
        lines = events.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.keys() >= {"at", "event"}:
            found.append(event)
    return found


def rate_of_probe(requests: int, seconds: float, settings: TeacherSettings) -> Rate | None:
    """Of a few requests: as slow as they were, or as fast as if the engine had been full with them."""
    if not requests or seconds <= 0:
        return None
    room = requests_at_once(settings)
    held = min(requests, room)
    slow = requests / seconds
    basis = f"probed with {requests} requests"
    if room > held:
        basis += (
            f": the engine takes {room} at once, so that a full one is up to {room / held:.1f} times faster"
        )
    return Rate(Spread(slow, slow if room == held else None, slow * room / held), basis)


def requests_at_once(settings: TeacherSettings) -> int:
    """Answers that the engine writes at the same time."""
    vllm = settings.vllm.max_num_seqs
    if settings.engine == "vllm":
        return vllm * settings.vllm.data_parallel_size
    if settings.engine == "server":
        return settings.server.concurrency * len(settings.server.urls)
    if settings.engine == "ray" and settings.ray.engine == "vllm":
        return vllm * settings.ray.workers
    return 1


def hours(requests: Spread, rate: Rate) -> Spread:
    return requests / rate.requests * (1 / 3600)

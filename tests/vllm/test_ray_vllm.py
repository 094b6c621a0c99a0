"""Two Ray workers with a vLLM engine each, in processes of its own, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stages.teacher.asking.parse import parse_answer
from tests.vllm.test_engine_process import descendants, is_alive, wait_until

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray; install '.[ray]'"),
]
RAY = {"workers": 2, "gpus_per_worker": 0, "cpus_per_worker": 0.5, "requests_per_shard": 10}


def ray_workers(driver: int) -> list[int]:
    """Processes that hold an actor; Ray renames them."""
    return [
        pid for pid in descendants(driver) if b"ray::RayWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_killed_worker_costs_no_answer_and_leaves_no_engine(start: Any, pictures: list[Path]) -> None:
    requests = [
        {"key": str(number), "picture": str(pictures[number % 3]), "seed": number % 6}
        for number in range(200)
    ]
    driver = start([{"do": "answer", "name": "all", "requests": requests}], in_process=False, ray=RAY)
    first = driver.until("answer")
    both = ray_workers(driver.process.pid)
    assert len(both) == 2
    below = descendants(both[0])
    assert below, "its engine runs in processes of its own"
    os.kill(both[0], signal.SIGKILL)

    reports = [first, *driver.reports()]
    assert driver.process.wait() == 0, reports[-3:]
    answers = {report["key"]: report for report in reports if report["event"] == "answer"}
    assert len(answers) == len([report for report in reports if report["event"] == "answer"]) == 200
    assert all(parse_answer(answer["text"]) for answer in answers.values())
    assert all(answers[str(number)]["text"] == answers[str(number % 6)]["text"] for number in range(200))
    assert wait_until(lambda: not any(is_alive(pid) for pid in [*both, *below]))

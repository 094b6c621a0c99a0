"""vLLM's default engine, in processes of its own: what happens to them when one side dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stages.teacher.asking.parse import parse_answer

pytestmark = pytest.mark.vllm

WAIT = 60.0  # seconds until a process that should be gone counts as left behind


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}


def wait_until(true: Callable[[], bool], seconds: float = WAIT) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int) -> list[int]:
    """Every process below `pid` that runs Python; the resource tracker ends by itself and is left out."""
    found: list[int] = []
    with suppress(OSError):  # one that has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return [child for child in found if b"resource_tracker" not in command(child)]


def command(pid: int) -> bytes:
    """What a process was started with; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def many(picture: Path) -> list[dict[str, Any]]:
    return [{"key": str(number), "picture": str(picture), "seed": number} for number in range(400)]


def test_answers_close_and_leave_no_process(start: Any, pictures: list[Path]) -> None:
    requests = many(pictures[0])[:6]
    driver = start(
        [{"do": "load"}, {"do": "answer", "name": "all", "requests": requests}, {"do": "close"}],
        in_process=False,
    )
    children = driver.until("done", do="load")["children"]
    assert children
    reports = list(driver.reports())  # each line of stdout is a report: vLLM's own messages go to stderr
    answers = [report for report in reports if report["event"] == "answer"]
    assert sorted(answer["key"] for answer in answers) == [str(number) for number in range(6)]
    assert all(parse_answer(answer["text"]) for answer in answers)
    assert [report["children"] for report in reports if report.get("do") == "close"] == [[]]
    assert not any(is_alive(pid) for pid in children)
    assert driver.process.wait() == 0


def test_a_killed_engine_is_noticed(start: Any, pictures: list[Path]) -> None:
    driver = start(
        [{"do": "load"}, {"do": "answer", "name": "x", "requests": many(pictures[0])}], in_process=False
    )
    (engine,) = driver.until("done", do="load")["children"]
    driver.until("answer")
    os.kill(engine, signal.SIGKILL)
    error = driver.until("error")
    assert error["code"] == 3
    assert "the vLLM engine died" in error["text"]
    assert "teacher.vllm.max_num_seqs" in error["text"]
    assert "run the same command again" in error["text"]
    assert driver.process.wait(WAIT) == 3


def test_a_killed_program_leaves_no_orphan(start: Any, pictures: list[Path]) -> None:
    driver = start(
        [{"do": "load"}, {"do": "answer", "name": "x", "requests": many(pictures[0])}], in_process=False
    )
    driver.until("answer")
    below = descendants(driver.process.pid)
    assert below
    driver.process.kill()
    gone = wait_until(lambda: not any(is_alive(pid) for pid in below))
    left = [pid for pid in below if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert gone, left

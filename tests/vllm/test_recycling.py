"""An engine that is loaded anew in the middle of a run: nothing lost, nothing asked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.vllm.test_engine_process import is_alive

pytestmark = pytest.mark.vllm

Reports = list[dict[str, Any]]


def run(start: Any, pictures: list[Path], in_process: bool, **settings: Any) -> Reports:
    requests = [
        {"key": str(number), "picture": str(pictures[number % 3]), "seed": number} for number in range(12)
    ]
    steps = [{"do": "load"}, {"do": "answer", "name": "all", "requests": requests}, {"do": "close"}]
    driver = start(steps, in_process, settings)
    reports = list(driver.reports())
    assert driver.process.wait() == 0, reports
    return reports


def texts(reports: Reports) -> dict[str, str]:
    answers = [report for report in reports if report["event"] == "answer"]
    assert len(answers) == 12
    assert {answer["finish_reason"] for answer in answers} == {"stop"}
    return {answer["key"]: answer["text"] for answer in answers}


def said(reports: Reports) -> list[str]:
    return [report["line"] for report in reports if report["event"] == "said"]


def test_a_recycled_engine_goes_on_where_the_last_one_stopped(start: Any, pictures: list[Path]) -> None:
    """Twelve answers at six a load: one new load in the middle. At twelve: none after the last answer."""
    whole = run(start, pictures, in_process=True, recycle_after=12)
    recycled = run(start, pictures, in_process=False, recycle_after=6, window=4)
    assert texts(recycled) == texts(whole)
    (only,) = said(whole)
    assert "the engine gave 12 answers, was loaded anew 0 times" in only

    lines = said(recycled)
    assert len(lines) == 2, lines
    answered = int(lines[0].removeprefix("loading the engine anew: ").split()[0])
    assert 6 <= answered < 12, "what the engine held when it was worn is finished first"
    assert "the engine gave 12 answers, was loaded anew 1 times, and held at most" in lines[1]
    held = float(lines[1].partition("at most ")[2].split()[0])
    assert held > 0.3, "the engine's processes were not measured"

    before, after, closed = (report["children"] for report in recycled if report["event"] == "done")
    assert before
    assert after
    assert not set(before) & set(after)
    assert not any(is_alive(pid) for pid in before)
    assert closed == []

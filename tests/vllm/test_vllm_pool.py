"""Two copies of a model side by side, each in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.teacher.asking.parse import parse_answer

pytestmark = pytest.mark.vllm


def test_two_engines_share_the_requests(start: Any, pictures: list[Path]) -> None:
    requests = [
        {"key": str(number), "picture": str(pictures[number % 3]), "seed": number % 6} for number in range(60)
    ]
    requests.append({"key": "missing", "picture": str(pictures[0].with_name("none.png")), "seed": 0})
    driver = start(
        [{"do": "answer", "name": "all", "requests": requests}],
        settings={"data_parallel_size": 2, "window": 4},
    )
    reports = list(driver.reports())
    assert driver.process.wait() == 0, reports
    answers = {report["key"]: report for report in reports if report["event"] == "answer"}
    assert len(answers) == len([report for report in reports if report["event"] == "answer"]) == 61
    assert "no such file" in answers.pop("missing")["error"]
    assert all(parse_answer(answer["text"]) for answer in answers.values())
    assert all(answers[str(number)]["text"] == answers[str(number % 6)]["text"] for number in range(60))
    closing = [report["line"] for report in reports if report["event"] == "said"]
    assert sorted(line.split(":")[0] for line in closing) == ["engine 1 of 2", "engine 2 of 2"]
    assert sum(int(line.split("gave ")[1].split()[0]) for line in closing) == 60

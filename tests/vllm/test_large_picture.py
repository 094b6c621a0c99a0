"""A picture that the model cuts into more tokens than its context holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.vllm


def test_it_fails_alone_and_the_message_says_what_makes_it_fit(start: Any, tmp_path: Path) -> None:
    """Pictures are resized to a longest edge of 1120 and cut into tiles of 56: 400 of them, or 20."""
    square, strip = tmp_path / "square.png", tmp_path / "strip.png"
    Image.new("RGB", (900, 900), "red").save(square)
    Image.new("RGB", (900, 40), "red").save(strip)
    requests = [
        {"key": "before", "picture": str(strip), "seed": 1},
        {"key": "large", "picture": str(square), "seed": 1},
        {"key": "after", "picture": str(strip), "seed": 1},
    ]
    driver = start(
        [{"do": "answer", "name": "all", "requests": requests}],
        settings={"processor": {"do_image_splitting": True, "size": {"longest_edge": 1120}}},
    )
    reports = list(driver.reports())
    answers = {report["key"]: report for report in reports if report["event"] == "answer"}
    assert driver.process.wait() == 0, reports
    assert answers["large"]["finish_reason"] == "error"
    assert "longer than the maximum model length of 2048" in answers["large"]["error"]
    assert (
        "raise teacher.vllm.max_model_len, or have the picture cut into fewer tokens"
        in answers["large"]["error"]
    )
    assert answers["before"]["finish_reason"] == answers["after"]["finish_reason"] == "stop"
    assert answers["before"]["text"] == answers["after"]["text"]

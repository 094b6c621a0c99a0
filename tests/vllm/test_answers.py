"""Real vLLM in process: answers obey the schema, failures stay alone, seeds decide the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cache.kinds import KINDS
from stages.teacher.asking.parse import parse_answer
from tests.teacher.examples import SWIG

pytestmark = pytest.mark.vllm

Answers = dict[str, dict[str, Any]]
OTHER_DIGEST = "f" * 32


def plan(pictures: list[Path], real: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Requests good and bad; the bad ones stand among the good ones, on the same pictures."""
    broken = folder / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture at all")
    huge = folder / "huge.png"
    Image.new("1", (20_000, 10_000)).save(huge)
    red, green, blue = (str(path) for path in pictures)
    items: list[dict[str, Any]] = [
        {"key": "red", "picture": red, "seed": 1},
        {"key": "broken", "picture": str(broken), "seed": 1},
        {"key": "too-long", "picture": green, "seed": 2, "question_words": 5000},
        {"key": "green", "picture": green, "seed": 2},
        {"key": "missing", "picture": str(folder / "missing.jpg"), "seed": 1},
        {"key": "changed", "picture": blue, "seed": 3, "digest": OTHER_DIGEST},
        {"key": "blue", "picture": blue, "seed": 3},
        {"key": "red-again", "picture": red, "seed": 1},
        {"key": "red-other-seed", "picture": red, "seed": 4},
        {"key": "red-two-fields", "picture": red, "seed": 1, "fields": ["negative_glimpse", "negative_gaze"]},
    ]
    items += [
        {"key": "greedy", "picture": red, "seed": 1, "greedy": True},
        {"key": "greedy-other-seed", "picture": red, "seed": 9, "greedy": True},
        {"key": "cut", "picture": red, "seed": 1, "max_chars": 600},
        {"key": "uncut", "picture": red, "seed": 1, "max_chars": 600, "token_factor": 2},
        {"key": "huge", "picture": str(huge), "seed": 1},
    ]
    return items + [{"key": path.name, "picture": str(path), "seed": 5} for path in real]


@pytest.fixture(scope="module")
def real() -> list[Path]:
    return sorted((SWIG / "images").glob("*.jpg"))


@pytest.fixture(scope="module")
def runs(
    start: Any, pictures: list[Path], real: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Answers]:
    """The same requests twice through one engine, forwards and backwards, and a few of them after a break."""
    requests = plan(pictures, real, tmp_path_factory.mktemp("plan"))
    good = [item for item in requests if item["key"] in {"red", "green", "blue", "red-other-seed"}]
    driver = start(
        [
            {"do": "answer", "name": "forwards", "requests": requests},
            {"do": "answer", "name": "backwards", "requests": requests[::-1]},
            {"do": "answer", "name": "broken-off", "requests": good * 2, "only": 1},
            {"do": "answer", "name": "after", "requests": good},
        ],
        settings={"window": 3},
    )
    found: dict[str, Answers] = {}
    for report in driver.reports():
        if report["event"] == "answer":
            found.setdefault(report["step"], {})[report["key"]] = report
        assert report["event"] != "error", report["text"]
    assert driver.process.wait() == 0
    return found


def is_good(answer: dict[str, Any]) -> bool:
    return answer["finish_reason"] == "stop" and list(parse_answer(answer["text"])) == list(KINDS)


def test_every_drawn_picture_gets_four_texts(runs: dict[str, Answers]) -> None:
    for key in ("red", "green", "blue", "red-again", "red-other-seed"):
        answer = runs["forwards"][key]
        assert is_good(answer)
        assert answer["tokens_in"] > 300
        assert answer["tokens_out"] > 10
        assert answer["seconds"] > 0


def test_every_real_picture_gets_four_texts(runs: dict[str, Answers], real: list[Path]) -> None:
    if not real:
        pytest.skip(f"needs the real pictures in {SWIG / 'images'}")
    assert all(is_good(runs["forwards"][path.name]) for path in real)


def test_a_bad_request_fails_alone_and_says_why(runs: dict[str, Answers]) -> None:
    answers = runs["forwards"]
    bad = {key: answer["error"] for key, answer in answers.items() if answer["finish_reason"] != "stop"}
    assert set(bad) == {"broken", "too-long", "missing", "changed", "huge", "cut"}
    assert "damaged" in bad["broken"] or "not a picture" in bad["broken"]
    assert "maximum context length is 2048" in bad["too-long"]
    assert "raise teacher.vllm.max_model_len, or have the picture cut into fewer tokens" in bad["too-long"]
    assert "200000000 pixels" in bad["huge"]
    assert "no such file" in bad["missing"]
    assert "changed since it was checked" in bad["changed"]
    assert not any("0x" in error for error in bad.values())
    assert all(answers[key]["text"] == "" for key in bad if key != "cut")


def test_an_answer_that_was_cut_is_whole_where_twice_the_tokens_are_allowed(runs: dict[str, Answers]) -> None:
    first, second = runs["forwards"]["cut"], runs["forwards"]["uncut"]
    assert (first["finish_reason"], first["tokens_out"]) == ("length", 600)
    assert second["finish_reason"] == "stop"
    assert 600 < second["tokens_out"] < 1200
    assert second["text"].startswith(first["text"])


def test_a_greedy_request_has_one_answer_whatever_its_seed(runs: dict[str, Answers]) -> None:
    answers = runs["forwards"]
    assert answers["greedy"]["text"] == answers["greedy-other-seed"]["text"]
    assert answers["greedy"]["text"] != answers["red"]["text"]


def test_only_the_fields_asked_for_come_back(runs: dict[str, Answers]) -> None:
    kinds = [KINDS[1], KINDS[3]]
    assert list(parse_answer(runs["forwards"]["red-two-fields"]["text"], kinds)) == kinds


def test_the_seed_decides_the_text_whatever_the_order(runs: dict[str, Answers]) -> None:
    forwards, backwards = runs["forwards"], runs["backwards"]
    assert {key: answer["text"] for key, answer in forwards.items()} == {
        key: answer["text"] for key, answer in backwards.items()
    }
    assert forwards["red"]["text"] == forwards["red-again"]["text"]
    assert forwards["red"]["text"] != forwards["red-other-seed"]["text"]


def test_a_run_broken_off_leaves_nothing_behind(runs: dict[str, Answers]) -> None:
    assert len(runs["broken-off"]) == 1
    assert set(runs["after"]) == {"red", "green", "blue", "red-other-seed"}
    assert all(runs["after"][key]["text"] == runs["forwards"][key]["text"] for key in runs["after"])

"""Banks of a language model's own hidden states, from a real vLLM engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache.bank_header import RATIONALE_TEXT, TEACHER_VISION
from cache.bank_reader import BankReader
from cache.paths import StorePaths
from cache.vectors import RATIONALES, read_vectors
from tests.vllm.conftest import ENVIRONMENT, ROOT
from tests.vllm.encode_driver import ENGINE, MAX_TOKENS

pytestmark = pytest.mark.vllm


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": str(ROOT),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }


@pytest.fixture(scope="module")
def encoded(
    model: Path, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What `encode_driver.py` wrote, and what it was refused."""
    folder = tmp_path_factory.mktemp("encoded")
    files = [pictures[0], pictures[1], pictures[0]]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/vllm/encode_driver.py"), model, *files, folder / "out.npz"],
        capture_output=True,
        text=True,
        env=environment(folder),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(folder / "out.npz") as file:
        return dict(file), json.loads(done.stdout)


def test_a_pictures_tokens_are_its_own(encoded: Any) -> None:
    """Only the picture differs between the prompts, so positions of the text would be equal in all."""
    tokens = encoded[0]["pictures"]
    assert tokens.shape == (3, 4, 128)
    assert np.isfinite(tokens).all()
    assert (np.abs(tokens[0] - tokens[1]).max(axis=1) > 1e-3).all(), "every position is the picture's"
    np.testing.assert_allclose(tokens[0], tokens[2], atol=1e-5)
    np.testing.assert_allclose(encoded[0]["reversed"], tokens[::-1], atol=1e-5)


def test_a_grid_that_the_model_does_not_give_is_refused(encoded: Any) -> None:
    assert "gives 4 tokens for a picture in a frame of 56 pixels" in encoded[1]["grid"]
    assert "grid 3 asks for 9 of every picture; set embed.teacher_vision.grid to 2" in encoded[1]["grid"]


def test_a_texts_tokens_are_those_of_the_model(encoded: Any) -> None:
    """As transformers computes them; the third text begins with the same words, and sees no later ones."""
    found = encoded[0]
    expected = found["expected_0"]
    length = len(expected)
    for row in (0, 2):
        np.testing.assert_allclose(found["tokens"][row, :length], expected, atol=1e-4)
    assert np.abs(found["pooled"][0] - found["pooled"][2]).max() > 1e-3
    assert found["lengths"].tolist()[1] == 0
    assert found["lengths"].max() == found["tokens"].shape[1] == MAX_TOKENS
    assert found["cut"][0] > 0
    assert not found["tokens"][1].any()
    np.testing.assert_allclose(np.linalg.norm(found["pooled"], axis=1), [1, 0, 1, 1], atol=1e-5)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    engine = {f"vllm.{name}": json.dumps(value) for name, value in ENGINE.items()}
    common = {"source": "vllm", "model": model, **engine}
    settings = {
        "run_dir": folder / "run",
        "data.root": folder / "data",
        "data.demo_images": 48,
        **{f"embed.teacher_vision.{key}": value for key, value in {**common, "size": 56, "grid": 2}.items()},
        **{f"embed.text.{key}": value for key, value in {**common, "max_tokens": 24}.items()},
    }

    def start(*command: str, **changed: Any) -> subprocess.CompletedProcess[str]:
        chosen = {**settings, **{key.replace("__", "."): value for key, value in changed.items()}}
        assignments = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        program = Path(sys.executable).with_name("mipd-pipe")
        return subprocess.run(
            [program, *command, "--config", "demo", *assignments],
            capture_output=True,
            text=True,
            env=environment(folder),
            cwd=folder,
        )

    return start


@pytest.fixture(scope="module")
def filled(run: Run) -> StorePaths:
    for command in ("generate-rationales", "embed-teacher"):
        done = run(command)
        assert done.returncode == 0, done.stderr[-4000:]
    found = run("inspect", "summary", "--json")
    return StorePaths(Path(json.loads(found.stdout)["store"]))


def test_the_banks_hold_the_models_states(filled: StorePaths) -> None:
    teacher, texts = BankReader(filled, TEACHER_VISION), BankReader(filled, RATIONALE_TEXT)
    assert teacher.header.shape == (4, 128)
    assert texts.header.shape == (4, 24, 128)
    first, second, *_ = teacher.images
    assert not np.array_equal(teacher.read(first).tokens, teacher.read(second).tokens)
    lengths = texts.read(first).lengths
    assert lengths is not None
    assert (lengths > 0).all()
    assert len(read_vectors(filled, RATIONALES)["vector"][0]) == 128
    teacher.close()
    texts.close()


def test_a_second_call_encodes_nothing(filled: StorePaths, run: Run) -> None:
    done = run("embed-teacher")
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count(" 0 to make") == 3
    assert "vLLM" not in done.stderr, "no engine was started"


def test_a_search_asks_the_same_model(filled: StorePaths, run: Run) -> None:
    done = run("inspect", "search", "a man rides a horse", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)

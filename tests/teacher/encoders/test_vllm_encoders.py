"""What the encoders over vLLM do without vLLM; `tests/vllm` drives the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cache.errors import UserError
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.encoders.encoder_settings import (
    PoolingSettings,
    TextEncoderSettings,
    VisionEncoderSettings,
)
from stages.teacher.encoders.sources import open_text, open_vision
from stages.teacher.encoders.vllm_encoders import MAX_TOKENS, VllmText, VllmVision
from stages.teacher.engines.vllm_load import installed_vllm
from stages.teacher.engines.vllm_settings import FIXED
from tests.tiny_models import build_tiny_vlm

without_vllm = pytest.mark.skipif(installed_vllm() is not None, reason="vllm is installed")


def vision(model: Path, **fields: Any) -> VllmVision:
    settings = {"source": "vllm", "model": str(model), "size": 56, "grid": 2, **fields}
    return VllmVision(VisionEncoderSettings.model_validate(settings))


def text(model: Path, **fields: Any) -> VllmText:
    return VllmText(TextEncoderSettings.model_validate({"source": "vllm", "model": str(model), **fields}))


def test_shapes_are_known_without_loading_the_model(built: Path) -> None:
    seen = vision(built, mode="pad", batch_size=5)
    assert (seen.geometry.tokens, seen.dim, seen.geometry.mode, seen.batch_size) == (4, 128, "pad", 5)
    read = text(built, max_tokens=9)
    assert (read.dim, read.pooled_dim, read.max_tokens, text(built).max_tokens) == (128, 128, 9, MAX_TOKENS)
    assert read.count(["", "a"]).tolist() == [0, 1]


def test_the_factory_opens_them(built: Path) -> None:
    given: dict[str, Any] = {"source": "vllm", "model": str(built)}
    assert isinstance(open_vision(VisionEncoderSettings(**given, size=56, grid=2)), VllmVision)
    assert isinstance(open_text(TextEncoderSettings(**given, long_texts="cut")), VllmText)


def test_the_identity_names_contents_and_whatever_decides_a_token(built: Path, model: Path) -> None:
    first = vision(built).identity()
    assert json.loads(json.dumps(first)) == first
    assert str(built) not in json.dumps(first)
    assert vision(model).identity() == first, "a moved model is the same model"
    others = [
        vision(model, size=112),
        vision(model, grid=3),
        vision(model, mode="crop"),
        vision(model, precision="bf16"),
        vision(model, vllm={"processor": {"do_image_splitting": False}}),
        vision(model, vllm={"extra": {"quantization": "fp8"}}),
    ]
    assert all(other.identity() != first for other in others)
    same = [vision(model, batch_size=2), vision(model, vllm={"max_model_len": 64, "enforce_eager": True})]
    assert all(one.identity() == first for one in same)
    assert text(model, max_tokens=9).identity() != text(model, max_tokens=8).identity()


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "preprocessor_config.json"])
def test_any_file_that_decides_a_token_changes_the_identity(built: Path, model: Path, name: str) -> None:
    (model / name).write_text((model / name).read_text() + "\n")
    assert vision(model).identity() != vision(built).identity()


def test_other_weights_are_another_encoder(tmp_path: Path, built: Path) -> None:
    assert text(build_tiny_vlm(tmp_path / "other", seed=1)).identity() != text(built).identity()


def test_a_model_without_picture_input_is_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config["text_config"] | {"architectures": ["LlamaForCausalLM"]})
    )
    with pytest.raises(UserError, match=r"\(LlamaForCausalLM\) has no image_token_id .* takes no pictures"):
        vision(model)
    assert text(model).dim == 128, "texts need none"


def test_texts_that_no_prompt_has_room_for_are_refused(built: Path) -> None:
    with pytest.raises(UserError, match=r"max_tokens 60 and the \d+ tokens around every text are more than"):
        text(built, max_tokens=60, vllm={"max_model_len": 64})


@without_vllm
def test_without_vllm_it_is_said_what_to_install(built: Path) -> None:
    with pytest.raises(UserError, match=r"vllm is not installed; .*set embed.text.source to transformers"):
        text(built).encode(["a horse"])
    frames = np.zeros((1, 56, 56, 3), np.uint8)
    with pytest.raises(UserError, match=r"set embed\.teacher_vision\.source to transformers"):
        vision(built).encode(frames)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"source is 'vllm' but model is empty; .* such as Qwen/Qwen2.5-VL-7B-Instruct"),
        (
            {"model": "a/b", "size": 448},
            r"with size 448 and grid 0: .* set both, such as size 448 and grid 16",
        ),
        ({"model": "a/b", "size": 448, "grid": 16, "vllm": {"extra": {"runner": "x"}}}, "runner is fixed"),
        ({"model": "a/b", "size": 448, "grid": 16, "vllm": {"extra": {"max_model_len": 1}}}, "of its own"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VisionEncoderSettings(source="vllm", **fields)


def test_the_student_may_not_see_through_the_language_model(built: Path) -> None:
    given = {"source": "vllm", "model": str(built), "size": 56, "grid": 2}
    with pytest.raises(ValidationError, match=r"student_vision.source is 'vllm', .*take source transformers"):
        EmbedSettings.model_validate({"student_vision": given})


def test_nothing_that_is_fixed_is_also_a_setting() -> None:
    assert not FIXED.keys() & PoolingSettings.model_fields.keys()

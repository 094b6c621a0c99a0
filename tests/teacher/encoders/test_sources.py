from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.teacher.encoders.builtin_text import BuiltinText
from stages.teacher.encoders.builtin_vision import BuiltinVision
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.encoders.hf_text import TransformersText
from stages.teacher.encoders.hf_vision import TransformersVision
from stages.teacher.encoders.long_texts import PooledLongTexts
from stages.teacher.encoders.sources import open_text, open_vision
from tests.tiny_encoders import build_clip


def test_builtin_settings_reach_the_encoder() -> None:
    settings = VisionEncoderSettings(size=96, grid=4, dim=40, mode="crop", variant="b", batch_size=3)
    vision = open_vision(settings)
    assert isinstance(vision, BuiltinVision)
    assert (vision.geometry.size, vision.geometry.rows, vision.geometry.mode) == (96, 4, "crop")
    assert (vision.dim, vision.batch_size, vision.identity()["variant"]) == (40, 3, "b")
    text = open_text(TextEncoderSettings(dim=24, pooled_dim=48, max_tokens=5, batch_size=3, long_texts="cut"))
    assert isinstance(text, BuiltinText)
    assert (text.dim, text.pooled_dim, text.max_tokens, text.batch_size) == (24, 48, 5, 3)
    default = open_text(TextEncoderSettings())
    assert isinstance(default, PooledLongTexts)
    assert default.max_tokens == 77
    assert open_vision(VisionEncoderSettings()).geometry.tokens == 1 + 8 * 8


def test_transformers_settings_reach_the_encoder(tmp_path: Path) -> None:
    model = str(build_clip(tmp_path))
    vision = open_vision(VisionEncoderSettings(source="transformers", model=model, mode="pad", batch_size=3))
    fields: dict[str, Any] = {"max_tokens": 7, "batch_size": 3, "long_texts": "cut"}
    text = open_text(TextEncoderSettings(source="transformers", model=model, **fields))
    assert isinstance(vision, TransformersVision)
    assert isinstance(text, TransformersText)
    assert (vision.geometry.mode, vision.batch_size, text.max_tokens, text.batch_size) == ("pad", 3, 7, 3)


def test_both_sources_answer_in_the_shapes_they_promise(tmp_path: Path) -> None:
    model = str(build_clip(tmp_path))
    choices: list[dict[str, Any]] = [{}, {"source": "transformers", "model": model}]
    for fields in choices:
        vision, text = open_vision(VisionEncoderSettings(**fields)), open_text(TextEncoderSettings(**fields))
        frames = np.zeros((2, vision.geometry.size, vision.geometry.size, 3), np.uint8)
        assert vision.encode(frames).shape == (2, vision.geometry.tokens, vision.dim)
        encoded = text.encode(["a horse", "man"])
        assert encoded.tokens.shape == (2, encoded.lengths.max(), text.dim)
        assert encoded.pooled.shape == (2, text.pooled_dim)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "transformers"}, r"model is empty; name a local folder or a hub id such as openai/clip"),
        ({"model": "a/b"}, r"model is 'a/b' but source is 'builtin', which reads no weights; set source to"),
        ({"device": "gpu"}, r"device\n.*match pattern.*cuda"),
        ({"layer": 0}, r"layer\n.*less than or equal to -1"),
        ({"batch_size": 0}, r"batch_size\n.*greater than or equal to 1"),
        ({"precision": "int8"}, r"precision\n.*'auto', 'fp32', 'bf16' or 'fp16'"),
        ({"trust_remote_code": True}, r"trust_remote_code\n.*[Ee]xtra"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VisionEncoderSettings(**fields)


def test_settings_and_factory_load_no_model_library() -> None:
    program = (
        "import sys, stages.teacher.encoders.encoder_settings, stages.teacher.encoders.sources;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])

"""Against a model cache on disk in the hub client's own layout, without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from cache.errors import UserError
from stages.teacher.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.hf_checkpoint import open_checkpoint
from stages.teacher.hf_hub import HubUnreachableError, exists, fetch
from stages.teacher.hf_text import TransformersText
from stages.teacher.hf_vision import TransformersVision
from tests.tiny_encoders import build_bert, build_clip

FRAME = np.zeros((1, 24, 24, 3), np.uint8)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a machine without a network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def cached(hub: Path, name: str) -> Path:
    """The snapshot folder of a model whose main branch is at COMMIT."""
    root = hub / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    return root / "snapshots" / COMMIT


def test_a_cached_model_is_pinned_to_its_commit(hub: Path) -> None:
    build_clip(cached(hub, "someone/clip"))
    vision = TransformersVision(VisionEncoderSettings(source="transformers", model="someone/clip"))
    assert vision.encode(FRAME).shape == (1, 10, 16)
    assert (vision.identity()["model"], vision.identity()["revision"]) == ("someone/clip", COMMIT)


def test_text_models_load_from_the_cache(hub: Path) -> None:
    build_bert(cached(hub, "someone/bert"))
    text = TransformersText(TextEncoderSettings(source="transformers", model="someone/bert"))
    assert text.encode(["a horse"]).pooled.shape == (1, 16)
    assert text.identity()["revision"] == COMMIT


def test_the_identity_of_a_hub_model_asks_for_no_weights(hub: Path) -> None:
    (build_clip(cached(hub, "someone/clip")) / "model.safetensors").unlink()
    vision = TransformersVision(VisionEncoderSettings(source="transformers", model="someone/clip"))
    assert vision.identity()["revision"] == COMMIT
    with pytest.raises(UserError, match=r"its model\.safetensors is not in the local model cache"):
        vision.encode(FRAME)


def test_pickled_weights_in_the_cache_are_named_as_such(hub: Path) -> None:
    folder = build_clip(cached(hub, "someone/clip"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        UserError,
        match=r"only as pytorch_model\.bin, a pickle.*refs/pr/NUMBER.*`hf download someone/clip --local-dir DIR`",
    ):
        open_checkpoint("someone/clip").tensor_files()
    assert exists("someone/clip", "pytorch_model.bin", COMMIT)
    assert not exists("someone/clip", "tf_model.h5", COMMIT)


def test_an_unreachable_hub_says_what_to_download(hub: Path) -> None:
    with pytest.raises(
        HubUnreachableError,
        match=r"'someone/none' is no folder here, its config\.json is not in the local model cache, "
        r"and the hub could not be reached.*`hf download someone/none`",
    ):
        open_checkpoint("someone/none")


def test_a_name_that_cannot_be_a_hub_id_is_refused(hub: Path) -> None:
    with pytest.raises(UserError, match="'what is this' is neither a folder here nor a model on the hub"):
        open_checkpoint("what is this")


def test_a_file_known_to_be_absent_is_absent_without_asking(hub: Path) -> None:
    cached(hub, "someone/clip").mkdir(parents=True)
    absent = hub / "models--someone--clip" / ".no_exist" / COMMIT
    absent.mkdir(parents=True)
    (absent / "modules.json").touch()
    assert fetch("someone/clip", "modules.json", "main") is None

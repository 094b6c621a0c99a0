"""The real hub client against a cache folder in its own layout, and against a small hub on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from cache.errors import MachineError, UserError
from stages.teacher.encoders import hf_hub
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.encoders.hf_checkpoint import INDEX, open_checkpoint
from stages.teacher.encoders.hf_hub import HubUnreachableError, exists, fetch
from stages.teacher.encoders.hf_text import TransformersText
from stages.teacher.encoders.hf_vision import TransformersVision
from tests.tiny_encoders import build_bert, build_blip2, build_clip

FRAME = np.zeros((1, 24, 24, 3), np.uint8)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a machine without a network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hf_hub, "_HUB", hf_hub._Hub())
    return tmp_path


@dataclass
class LocalHub:
    """Serves models/OWNER/NAME/FILE the way the hub does; every branch is at COMMIT."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                model, _, rest = self.path.strip("/").partition("/resolve/")
                name = rest.partition("/")[2]
                file = served.folder / model / name
                served.asked.append(name)
                found = file.is_file()
                self.send_response(200 if found else 404)
                if not found:
                    known = file.parents[name.count("/")].is_dir()
                    self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
                body = file.read_bytes() if found else b""
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    served = LocalHub(tmp_path / "models")
    with ThreadingHTTPServer(("127.0.0.1", 0), served.handler()) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(hf_hub, "_HUB", hf_hub._Hub())
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


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
    with pytest.raises(UserError, match=r"only as pickles \(pytorch_model\.bin\).*`hf download someone/clip"):
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


def test_only_the_shards_of_the_tower_are_downloaded(local_hub: LocalHub) -> None:
    folder = build_blip2(local_hub.folder / "someone" / "blip2")
    files = json.loads((folder / INDEX).read_text())["weight_map"]
    of_tower = {file for name, file in files.items() if name.startswith("vision_model.")}
    vision = TransformersVision(VisionEncoderSettings(source="transformers", model="someone/blip2"))
    tokens = vision.encode(FRAME)
    assert vision.identity()["revision"] == COMMIT
    assert {name for name in local_hub.asked if name.startswith("model-")} == of_tower
    local = TransformersVision(VisionEncoderSettings(source="transformers", model=str(folder)))
    np.testing.assert_array_equal(tokens, local.encode(FRAME))
    local_hub.asked.clear()
    TransformersVision(VisionEncoderSettings(source="transformers", model="someone/blip2")).encode(FRAME)
    assert local_hub.asked == []


def test_pickled_weights_on_the_hub_are_named_without_download(local_hub: LocalHub) -> None:
    folder = build_clip(local_hub.folder / "someone" / "clip")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"only as pickles \(pytorch_model\.bin\).*`hf download someone/clip"):
        open_checkpoint("someone/clip").tensor_files()
    assert not list((local_hub.folder.parent / "cache").rglob("pytorch_model.bin"))


def test_a_model_that_the_hub_does_not_have_is_named(local_hub: LocalHub) -> None:
    with pytest.raises(UserError, match="'someone/none' is neither a folder here nor a model on the hub"):
        open_checkpoint("someone/none")


def test_a_download_that_breaks_off_is_the_machines_fault(local_hub: LocalHub) -> None:
    build_clip(local_hub.folder / "someone" / "clip")
    (local_hub.folder.parent / "cache").write_text("a file where the cache folder should be")
    with pytest.raises(MachineError, match=r"config\.json of hub model someone/clip could not be fetched"):
        open_checkpoint("someone/clip")


def test_a_text_model_is_downloaded_at_one_commit(local_hub: LocalHub) -> None:
    folder = build_bert(local_hub.folder / "someone" / "bert")
    text = TransformersText(TextEncoderSettings(source="transformers", model="someone/bert"))
    local = TransformersText(TextEncoderSettings(source="transformers", model=str(folder)))
    np.testing.assert_array_equal(text.encode(["a horse"]).tokens, local.encode(["a horse"]).tokens)
    assert text.identity()["revision"] == COMMIT
    assert {"tokenizer.json", "tokenizer_config.json", "model.safetensors"} <= set(local_hub.asked)
    local_hub.asked.clear()
    TransformersText(TextEncoderSettings(source="transformers", model="someone/bert")).encode(["a horse"])
    assert local_hub.asked == []


def test_a_model_without_config_is_named(local_hub: LocalHub) -> None:
    (local_hub.folder / "someone" / "data").mkdir(parents=True)
    with pytest.raises(UserError, match=r"hub model someone/data has no config\.json at revision 'main'"):
        open_checkpoint("someone/data")


def test_a_hub_that_was_silent_is_not_asked_again(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_clip(local_hub.folder / "someone" / "clip")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError) as first:
        fetch("someone/clip", "config.json", "main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(HubUnreachableError) as second:
        fetch("someone/clip", "config.json", "main")
    assert str(second.value) == str(first.value)
    assert not exists("someone/clip", "config.json", "main")
    assert local_hub.asked == []

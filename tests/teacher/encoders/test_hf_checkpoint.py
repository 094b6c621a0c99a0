from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import INDEX, WEIGHTS, Checkpoint, open_checkpoint
from tests.tiny_encoders import change_json, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tensors in one file, with a config."""
    folder = tmp_path / "model"
    write_json(folder / "config.json", {"model_type": "clip"})
    save_file({"a": torch.arange(9.0), "b": torch.ones(2, 2)}, folder / WEIGHTS)
    return folder


def shard(folder: Path) -> None:
    """The same tensors, one file each."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    for name, tensor in tensors.items():
        save_file({name: tensor}, folder / f"{name}.safetensors")
    write_json(folder / INDEX, {"weight_map": {name: f"{name}.safetensors" for name in tensors}})


def identity(folder: Path, names: tuple[str, ...] = ("a",), files: tuple[str, ...] = ()) -> dict[str, str]:
    return open_checkpoint(str(folder)).identity(lambda: names, files)


def test_only_the_files_of_the_asked_tensors_are_opened(folder: Path) -> None:
    shard(folder)
    (folder / "b.safetensors").write_bytes(b"broken")
    loaded = open_checkpoint(str(folder)).load(["a"])
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {"a": list(range(9))}


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.parent / "elsewhere"))


def _touch(folder: Path) -> Path:
    os.utime(folder / WEIGHTS, (0, 0))
    return folder


def _shard(folder: Path) -> Path:
    shard(folder)
    return folder


def _other_tensor(folder: Path) -> Path:
    save_file({**load_file(folder / WEIGHTS), "b": torch.zeros(2, 2)}, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("change", [_copy, _touch, _shard, _other_tensor])
def test_identity_is_of_the_content_in_use(folder: Path, change: Callable[[Path], Path]) -> None:
    before = identity(folder)
    assert identity(change(folder)) == before


def _weights(folder: Path) -> None:
    save_file({**load_file(folder / WEIGHTS), "a": torch.arange(9.0) + 0.001}, folder / WEIGHTS)


def _config(folder: Path) -> None:
    change_json(folder / "config.json", hidden_size=3)


def _vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("word")


@pytest.mark.parametrize("change", [_weights, _config, _vocabulary])
def test_identity_changes_with_the_content(folder: Path, change: Callable[[Path], None]) -> None:
    before = identity(folder, files=("vocab.txt",))
    size = (folder / WEIGHTS).stat().st_size
    change(folder)
    assert (folder / WEIGHTS).stat().st_size == size
    assert identity(folder, files=("vocab.txt",)) != before


@pytest.mark.parametrize("name", ["/no/such/model", "./model", "~/model", "a/b/c"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"model folder {name} does not exist; give a folder that holds config"
    ):
        open_checkpoint(name)


def test_a_revision_needs_a_hub_model(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"revision 'v2' is set, but .* is a local folder.*leave revision empty"
    ):
        open_checkpoint(str(folder), "v2")


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no config\.json, so it is not a model in the transformers layout"
    ):
        open_checkpoint(str(tmp_path)).read_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json is not JSON .*download .* again"),
        ("[]", r"config\.json holds a list, not an object"),
        ("{}", r"config\.json of .* names no model_type"),
    ],
)
def test_a_broken_config_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        open_checkpoint(str(tmp_path)).read_config()


def test_pickled_weights_are_refused_with_the_way_out(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    checkpoint = open_checkpoint(str(folder))
    with pytest.raises(
        UserError, match=r"only as pickles \(pytorch_model\.bin\), which can run code"
    ) as caught:
        checkpoint.tensor_files()
    _follow_the_advice(str(caught.value), folder)
    assert set(checkpoint.tensor_files()) == {"a", "b"}


def _follow_the_advice(message: str, folder: Path) -> None:
    """Runs the python command that the message ends in, in the folder."""
    program = message.partition('python -c "')[2].removesuffix('"')
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(program, "advice", "exec"), {})
    finally:
        os.chdir(before)


def test_no_weights_at_all_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        UserError, match=r"has no weights: neither model\.safetensors nor model\.safetensors\.index"
    ):
        open_checkpoint(str(folder)).tensor_files()


def test_a_missing_shard_is_named(folder: Path) -> None:
    shard(folder)
    (folder / "a.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"lacks a\.safetensors, which holds 1 of the tensors needed here \(for exa"
    ):
        open_checkpoint(str(folder)).load(["a"])


def test_an_index_without_a_map_is_named(folder: Path) -> None:
    write_json(folder / INDEX, {})
    with pytest.raises(UserError, match=r"index\.json of .* has no weight_map"):
        open_checkpoint(str(folder)).tensor_files()


def test_an_index_that_promises_too_much_is_named(folder: Path) -> None:
    write_json(folder / INDEX, {"weight_map": {"c": WEIGHTS}})
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read .*again"):
        open_checkpoint(str(folder)).load(["c"])


def test_only_own_code_is_looked_up_on_the_hub(folder: Path) -> None:
    name = "pretrained_model_name_or_path"
    for own_code in (True, False):
        assert open_checkpoint(str(folder)).source(own_code)[name] == str(folder.resolve())
    hub = Checkpoint("a/b", Path("cache/c"), "c")
    assert hub.source(own_code=False) == {name: "cache/c", "local_files_only": True}
    assert (hub.source(own_code=True)[name], hub.source(own_code=True)["revision"]) == ("a/b", "c")

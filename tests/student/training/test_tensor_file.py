"""Checkpoints are whole or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cache.errors import UserError
from stages.student.training.tensor_file import load_facts, load_tensors, save_tensors


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.tensor([True, False])}
    save_tensors(path, tensors, {"step": 3, "verb": "žabí"})
    loaded, facts = load_tensors(path)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert facts == load_facts(path) == {"format": 2, "step": 3, "verb": "žabí"}


def test_whoever_may_read_other_files_of_the_user_may_read_these(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)}, {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_tensors_that_share_memory_are_both_kept(tmp_path: Path) -> None:
    whole = torch.arange(4)
    save_tensors(tmp_path / "x", {"whole": whole, "part": whole[:2]}, {})
    loaded, _ = load_tensors(tmp_path / "x")
    assert loaded["part"].tolist() == [0, 1]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint .*none; make one with `mipd-pipe train-student`"):
        load_tensors(tmp_path / "none")


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(8)}, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        UserError, match="it is cut off or no checkpoint of mipd-pipe: a damaged state file may be deleted"
    ):
        load_tensors(path)


def test_a_foreign_file_and_one_of_another_version_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(UserError, match="no checkpoint of mipd-pipe"):
        load_tensors(tmp_path / "foreign")
    for other in (1, 3):  # before the switches of the method; of a version to come
        save_file({"a": torch.zeros(1)}, tmp_path / "other", metadata={"mipd": f'{{"format": {other}}}'})
        with pytest.raises(
            UserError, match=f"has checkpoint format {other}; this version reads format 2: use "
        ):
            load_tensors(tmp_path / "other")

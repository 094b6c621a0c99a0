"""`mipd-pipe bench teacher`, at a size that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import MachineError, UserError
from pipeline.bench.child import run_command
from pipeline.bench.many_pictures import add_picture, make_data_set
from pipeline.bench.teacher import bench_teacher
from pipeline.console import Console
from stages.data.scenes import ANNOTATIONS, PICTURES
from stages.teacher.engines.vllm_load import installed_vllm


@pytest.mark.skipif(installed_vllm() is not None, reason="with vllm it takes minutes")
def test_memory_and_resume_are_measured_without_vllm() -> None:
    result = bench_teacher(pictures=4, few=3, many=6, console=Console())
    assert result.data["stage_vs_engine"] is None
    assert result.data["resume_rows"] == 24
    assert 0 < result.data["resume_seconds"] < 600
    assert result.data["memory_many_vs_few"] == result.data["many_peak_mib"] / result.data["few_peak_mib"]
    assert result.data["few_peak_mib"] > 50
    assert "resume_seconds" in result.text


@pytest.mark.parametrize(("pictures", "few", "many"), [(0, 1, 2), (1, 2, 2), (1, 0, 2)])
def test_sizes_that_make_no_sense_are_refused(pictures: int, few: int, many: int) -> None:
    with pytest.raises(UserError, match="all from 1, few below many"):
        bench_teacher(pictures, few, many, Console())


def test_pictures_are_used_again_under_names_of_their_own(tmp_path: Path) -> None:
    make_data_set(tmp_path, 400)
    annotations = tmp_path / ANNOTATIONS / "train.json"
    entries = json.loads(annotations.read_text())
    assert len(entries) == 400
    assert all((tmp_path / PICTURES / image).is_file() for image in entries)
    add_picture(tmp_path)
    assert len(json.loads(annotations.read_text())) == 401


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="unknown key; did you mean 'root'"):
        run_command(["check-data", "--config", "demo"], {"data.rot": "x"}, tmp_path / "log.txt")

"""`mipd-pipe init` writes a configuration that runs, and keeps the example's comments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.config import embedded_configs, load_config
from pipeline.first_config import Answers, Hardware, choose_hardware, fill, write_first_config
from stages.data.scenes import draw_data_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "drawn"
    draw_data_set(folder, 96, 0)
    return folder


@pytest.mark.parametrize("hardware", ["cpu", "gpu"])
def test_the_file_names_the_data_and_the_run_and_changes_nothing_else(
    data: Path, tmp_path: Path, hardware: Hardware
) -> None:
    out = tmp_path / "mine.yaml"
    said = write_first_config(Answers(data, tmp_path / "run", hardware), out, overwrite=False)
    config = load_config(out)
    example = load_config(Path({"cpu": "swig-cpu", "gpu": "ov-swig"}[hardware]))
    assert (config.data.root, config.run_dir) == (data, tmp_path / "run")
    assert config.model_copy(update={"data": example.data, "run_dir": example.run_dir}) == example
    assert f"mipd-pipe run -c {out}" in said
    assert "(96)" in said
    assert "unseen verbs splits.json" in said


def test_the_teacher_is_the_one_that_was_named(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    write_first_config(Answers(data, tmp_path / "run", "gpu", "/models/a teacher"), out, overwrite=False)
    assert load_config(out).teacher.vllm.model == "/models/a teacher"
    assert "# the rules first, then the model itself" in out.read_text()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
def test_any_name_of_a_folder_is_read_back(name: str) -> None:
    text = fill(embedded_configs()["swig-cpu"], Answers(Path(name), Path(name), "cpu"), Path("mipd.yaml"))
    read = yaml.safe_load(text)
    assert (read["data"]["root"], read["run_dir"]) == (str(Path(name)), str(Path(name)))


def test_an_existing_file_stays_unless_forced(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    with pytest.raises(UserError, match="exists already; give --force to overwrite it, or --out ANOTHER"):
        write_first_config(Answers(data, tmp_path / "run", "cpu"), out, overwrite=False)
    assert out.read_text() == "mine"
    write_first_config(Answers(data, tmp_path / "run", "cpu"), out, overwrite=True)
    assert load_config(out).data.root == data


def test_a_folder_that_is_no_data_set_and_a_teacher_without_a_gpu_are_refused(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.yaml"
    with pytest.raises(UserError, match=r"no imsitu_space.json in"):
        write_first_config(Answers(tmp_path, tmp_path, "cpu"), out, overwrite=False)
    with pytest.raises(UserError, match="--teacher some/model needs a GPU"):
        write_first_config(Answers(data, tmp_path, "cpu", "some/model"), out, overwrite=False)
    with pytest.raises(UserError, match="--hardware 'tpu' is not one of auto, cpu, gpu"):
        choose_hardware("tpu")
    assert not out.exists()


def test_a_folder_without_data_gets_no_configuration(tmp_path: Path) -> None:
    out = tmp_path / "mipd.yaml"
    with pytest.raises(
        UserError, match=r"nowhere is no folder; give the one with the pictures in images_512/"
    ):
        write_first_config(Answers(tmp_path / "nowhere", tmp_path / "run", "cpu"), out, overwrite=False)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name in ("imsitu_space.json", "verb_indices.txt", "role_indices.txt", "train_classes.csv"):
        (tmp_path / "data" / name).write_text("{}")
    with pytest.raises(UserError, match=r"holds no picture \(.*\.jpg"):
        write_first_config(Answers(tmp_path / "data", tmp_path / "run", "cpu"), out, overwrite=False)
    assert not out.exists()
    (tmp_path / "data" / "images" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"holds neither train.json, dev.json, test.json nor Ov-SWiG's"):
        write_first_config(Answers(tmp_path / "data", tmp_path / "run", "cpu"), out, overwrite=False)
    assert not out.exists()

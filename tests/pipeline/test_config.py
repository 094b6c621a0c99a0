"""Strict configuration: every mistake named by its dotted path, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config import dump_config, embedded_configs, load_config

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = "run_dir: runs/x\ndata: {root: some/data}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "mipd.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_explains_itself(path: Path) -> None:
    load_config(path)
    head = path.read_text(encoding="utf-8").splitlines()[:4]
    for line, word in zip(head, ("What", "Command", "Hardware", "Time"), strict=True):
        assert line.startswith(f"# {word}:")


def test_shipped_configs_can_be_named_without_their_folder() -> None:
    assert set(embedded_configs()) == {path.stem for path in CONFIGS.glob("*.yaml")}
    assert load_config(Path("demo")) == load_config(None) == load_config(CONFIGS / "demo.yaml")


def test_a_dumped_config_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(None, ["train.epochs=3", "store_dir=elsewhere"])
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_set_reaches_any_depth_and_makes_sections(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load_config(path, ["train.epochs=3", "teacher.judge.max_attempts=2", "student.distill=false"])
    assert config.train.epochs == 3
    assert config.teacher.judge.max_attempts == 2
    assert config.student.distill is False
    assert config.store == Path("runs/x/store")


def test_all_mistakes_come_at_once_each_with_path_and_value(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        MINIMAL
        + "train: {epoch: 3, lr: fast, batch_size: 0}\n"
        + "embed: {storage: fp8}\n"
        + "teacher: {vllm: {modell: x}}\n"
        + "tain: {}\n",
    )
    with pytest.raises(UserError) as caught:
        load_config(path)
    text = str(caught.value)
    assert "6 mistakes in the configuration" in text
    assert "train.epoch: unknown key; did you mean 'epochs'?" in text
    assert "train.lr: 'fast' is not allowed: input should be a valid number" in text
    assert "train.batch_size: 0 is not allowed: input should be greater than or equal to 1" in text
    assert "embed.storage: 'fp8' is not allowed: input should be 'fp32', 'fp16', 'bf16' or 'int8'" in text
    assert "teacher.vllm.modell: unknown key; did you mean 'model'?" in text
    assert "tain: unknown key; did you mean 'train'?" in text


def test_an_unknown_key_far_from_all_others_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="xyz: unknown key; known here: run_dir, store_dir, max_failure_rate"):
        load_config(write(tmp_path, MINIMAL + "xyz: 1\n"))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.root: missing; it has no default, set it in the file or with --set"
    ):
        load_config(write(tmp_path, "run_dir: x\ndata: {}\n"))


@pytest.mark.parametrize(
    ("value", "kept"),
    [("'3'", "'3' is not allowed"), ("3.5", "3.5 is not allowed"), ("true", "True is not allowed")],
)
def test_no_value_is_turned_into_another_type(tmp_path: Path, value: str, kept: str) -> None:
    with pytest.raises(UserError, match=f"train.epochs: {kept}"):
        load_config(write(tmp_path, MINIMAL + f"train: {{epochs: {value}}}\n"))


@pytest.mark.parametrize("text", ["train.epochs", "=3", ".a=3", "a..b=3"])
def test_a_set_that_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not of the form dotted.key=value, e.g. train.epochs=3"):
        load_config(None, [text])


def test_a_set_through_a_value_is_refused() -> None:
    with pytest.raises(UserError, match="run_dir is a value, not a section"):
        load_config(None, ["run_dir.deep=3"])


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config file .*none.yaml; give a file, or one of the embedded"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is not YAML"):
        load_config(write(tmp_path, "a: [1"))
    with pytest.raises(UserError, match="must hold keys and values, it holds list"):
        load_config(write(tmp_path, "- 1\n"))


@pytest.mark.parametrize("text", ["1e-3", "1.e-3", ".1E-2", "10e-4", "1.0e-3", "0.001"])
def test_a_number_may_be_written_as_programs_write_it(tmp_path: Path, text: str) -> None:
    assert load_config(None, [f"train.lr={text}"]).train.lr == 0.001
    file = tmp_path / "mipd.yaml"
    file.write_text(f"run_dir: runs\ndata: {{root: data}}\ntrain: {{lr: {text}}}\n")
    assert load_config(file).train.lr == 0.001


def test_a_text_that_looks_like_a_number_stays_text_when_dumped(tmp_path: Path) -> None:
    config = load_config(None, ["teacher.vllm.revision='12e4567'"])
    file = tmp_path / "mipd.yaml"
    file.write_text(dump_config(config))
    assert load_config(file) == config


def test_keys_that_stand_twice_are_refused_by_name_and_line(tmp_path: Path) -> None:
    """PyYAML takes the last one in silence, so that an edit further up does nothing."""
    text = "run_dir: runs\ndata: {root: data}\ntrain:\n  epochs: 3\n  lr: 1e-3\n  epochs: 4\nrun_dir: other\n"
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path, text))
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'mipd.yaml'}: keys that stand twice, of which the last would win in silence; keep one"
        " of each",
        "  line 6: train.epochs stands in line 4 already",
        "  line 7: run_dir stands in line 1 already",
    ]
    with pytest.raises(UserError, match=r"--set 'train=.*\n  line 1: epochs stands in line 1 already"):
        load_config(None, ["train={epochs: 3, epochs: 4}"])


def test_an_alias_is_no_repetition(tmp_path: Path) -> None:
    text = "run_dir: &r runs\nstore_dir: *r\ndata: {root: data}\n"
    assert load_config(write(tmp_path, text)).store == load_config(write(tmp_path, text)).run_dir
    with pytest.raises(UserError, match="is not allowed"):
        load_config(write(tmp_path, "run_dir: &a [*a]\ndata: {root: data}\n"))

"""`inspect verify / repair / compact / export / import` as a user types them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cache.manifest import editing, load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from pipeline import cli, stage_one
from pipeline.config import Config, dump_config
from pipeline.looking import health
from pipeline.workspace import Workspace
from stages.data.scenes import draw_data_set


class Shell:
    """One run folder and its commands in this process; `out` and `err` are of the last one."""

    def __init__(
        self, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.config, self.store = config, StorePaths(config.store)
        self._file = config.run_dir.with_suffix(".yaml")
        self._file.write_text(dump_config(config))
        self._patch, self._capture = monkeypatch, capsys
        self.out = self.err = ""

    def inspect(self, *words: object) -> int:
        line = ["mipd-pipe", "inspect", *map(str, words), "--config", str(self._file)]
        self._patch.setattr("sys.argv", line)
        self._capture.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        self.out, self.err = self._capture.readouterr()
        return int(end.value.code or 0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Of a data set of a few pictures."""
    data = tmp_path_factory.mktemp("data") / "data"
    draw_data_set(data, images=48, seed=0)
    return (f"data.root={data}", "teacher.pictures_per_part=4", "embed.rows_per_shard=8")


@pytest.fixture
def shell(
    tmp_path: Path,
    settings: tuple[str, ...],
    small_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """Of a store that both commands of stage one have filled."""
    config = small_config(tmp_path / "run", *settings)
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    return Shell(config, monkeypatch, capsys)


def test_verify_and_repair_tell_what_is_wrong_and_what_they_do(shell: Shell) -> None:
    assert shell.inspect("verify") == 0
    assert shell.out.endswith(": whole\n")
    assert shell.inspect("repair", "--dry-run") == 0
    assert shell.out == "nothing is proven bad: nothing to repair\n"
    part = load_manifest(shell.store).of("rationales")[0].path
    (shell.store.root / part).write_bytes(b"not Parquet")
    assert shell.inspect("verify") == 1
    assert f"{part}: has 11 bytes, the manifest says" in shell.out
    assert "1 faults; see what `mipd-pipe inspect repair --dry-run` would do" in shell.out
    assert shell.inspect("repair", "--dry-run") == 1
    assert f"{part}: removed; has 11 bytes" in shell.out
    assert "1 steps, none of them done" in shell.out
    assert (shell.store.root / part).exists()
    assert shell.inspect("repair") == 0
    assert (
        f"damaged files are kept in {shell.store.removed} until `mipd-pipe inspect compact`; then"
        in shell.out
    )
    assert (
        "`mipd-pipe generate-rationales` and `mipd-pipe embed-teacher` make anew what is missing" in shell.out
    )
    assert shell.inspect("repair", "--json") == 0
    assert json.loads(shell.out) == []


def test_a_store_of_another_data_set_loses_nothing_to_a_repair(shell: Shell) -> None:
    """Held against the wrong pictures and held-out verbs, all of it would look bad."""
    with editing(shell.store) as cell:
        verbs = tuple({row["verb"] for row in read_rationales(shell.store).to_dicts()})
        cell[0] = replace(cell[0], data_fingerprint="another", held_out_verbs=verbs)
    before = load_manifest(shell.store)
    assert shell.inspect("repair") == 0
    assert "note: the store is of another data set than data.root, or of an earlier state of it" in shell.err
    assert load_manifest(shell.store) == before


def test_compact_tells_what_became_of_files_and_rows(shell: Shell) -> None:
    before = len(load_manifest(shell.store).parts)
    assert shell.inspect("compact") == 0
    after = len(load_manifest(shell.store).parts)
    assert after < before
    assert f"files    {before} -> {after}\n" in shell.out
    assert "dropped  none (rows that newer ones had replaced)" in shell.out
    assert shell.inspect("verify") == 0
    assert shell.inspect("compact", "--keep-versions", "--json") == 0
    assert json.loads(shell.out)["files_after"] == after


def test_stage_one_goes_on_with_a_compacted_store(shell: Shell) -> None:
    assert shell.inspect("compact") == 0
    before = shell.store.manifest.read_bytes()
    workspace = Workspace(shell.config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    assert shell.store.manifest.read_bytes() == before, "nothing was left to do"


@pytest.mark.parametrize("form", health.FORMS)
def test_an_export_comes_back_and_is_not_asked_for_again(
    shell: Shell,
    tmp_path: Path,
    settings: tuple[str, ...],
    small_config: Callable[..., Config],
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shell.inspect("export", tmp_path / "out", "--to", form) == 0
    rows = read_rationales(shell.store)
    assert shell.out.startswith(
        f"{rows.height} rationales of {rows['image'].n_unique()} pictures in 1 files: "
    )
    config = small_config(tmp_path / "other", *settings)
    other = Shell(config, monkeypatch, capsys)
    assert other.inspect("import", tmp_path / "out", "--from", form) == 0
    assert (
        other.out
        == f"{rows.height} rationales of {rows['image'].n_unique()} pictures added, 0 were there already\n"
    )
    order = ["image", "attempt", "aspect", "polarity"]
    assert read_rationales(other.store).sort(order).equals(rows.sort(order))
    parts = len(load_manifest(other.store).of("rationales"))
    stage_one.generate_rationales(Workspace(config))
    assert len(load_manifest(other.store).of("rationales")) == parts, "every picture is finished"


def test_a_webdataset_holds_pictures_annotations_and_banks(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--to", "webdataset", "--banks", "student-vision", "--pictures-per-file", "5"]
    assert shell.inspect("export", out, *words) == 0
    assert len(list(out.glob("train-*.tar"))) > 1


def test_a_form_that_is_none_is_refused(shell: Shell, tmp_path: Path) -> None:
    assert shell.inspect("export", tmp_path / "out", "--to", "xml") == 2
    assert "error: 'xml' is no form of an export; give one of parquet, hf, webdataset" in shell.err
    assert shell.inspect("export", tmp_path / "out", "--to", "hf", "--banks", "student-vision") == 2
    assert "--banks go with --to webdataset; --to hf holds rationales alone" in shell.err


def test_what_cannot_be_imported_is_said(shell: Shell, tmp_path: Path) -> None:
    assert shell.inspect("import", tmp_path, "--from", "parquet") == 2
    assert "error: no *.parquet file in" in shell.err


def test_without_the_data_the_store_tells_what_it_knows(shell: Shell, tmp_path: Path) -> None:
    """A colleague who was handed the store alone can still look at it."""
    gone = ("--set", f"data.root={tmp_path / 'gone'}")
    image = read_rationales(shell.store)["image"][0]
    note = "note: the data set cannot be read, so only what the store itself holds is told: data.root"
    assert shell.inspect("show", image, *gone) == 0
    assert shell.err.count(f"{note} {tmp_path / 'gone'} does not exist") == 1
    head, *rest = shell.out.splitlines()
    assert re.fullmatch(rf"{re.escape(image)}: [a-z-]+ \(train\)", head)
    assert any(line.startswith("positive glimpse (attempt 0, accepted)") for line in rest)
    assert rest[-1] == "banks: rationale-text, student-vision, teacher-vision"
    assert shell.inspect("show", "nobody.jpg", *gone) == 2
    assert shell.inspect("verify", *gone) == 0
    assert shell.err.count(note) == 1
    assert ": whole" in shell.out
    bank = next(shell.store.root.glob("banks/*/*.lmdb"))
    bank.write_bytes(bank.read_bytes()[:-1])
    assert shell.inspect("verify", *gone) == 1
    assert shell.inspect("repair", "--dry-run", *gone) == 1
    assert "another data set" not in shell.err
    assert not (tmp_path / "gone").exists()

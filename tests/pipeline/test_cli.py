"""The command line from end to end on a small drawn data set: results, exit codes, messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from cache.lock import writer_lock
from cache.paths import StorePaths
from cache.rationales import append_rationales, read_rationales
from pipeline import cli
from pipeline.config import Config, dump_config


@dataclass
class Shell:
    """Runs commands in this process."""

    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    code: int = 0
    out: str = ""
    err: str = ""

    def run(self, *arguments: object) -> int:
        self.monkeypatch.setattr("sys.argv", ["mipd-pipe", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        self.out, self.err = self.capture.readouterr()
        self.code = int(end.value.code or 0)
        return self.code


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.delenv("MIPD_CONFIG", raising=False)
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Config:
    """A run that went through all stages; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    config = small_config(folder / "run")
    (folder / "config.yaml").write_text(dump_config(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mipd-pipe", "run", "-c", str(folder / "config.yaml")])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code
    return config


def file_of(config: Config) -> Path:
    return config.run_dir.parent / "config.yaml"


def write(config: Config) -> Path:
    path = file_of(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_config(config))
    return path


def test_a_finished_run_is_skipped_and_shows_the_same_table(finished: Config, shell: Shell) -> None:
    metrics = json.loads((finished.run_dir / "metrics.json").read_text())
    assert shell.run("run", "-c", file_of(finished)) == 0
    assert "0 to ask" in shell.err
    assert "0 to make" in shell.err
    assert "finished" in shell.err
    assert json.loads((finished.run_dir / "metrics.json").read_text()) == metrics
    for subset in ("all", "seen", "rare", "unseen"):
        for setting in ("top1", "top5", "gt"):
            for figure in metrics["subsets"][subset][setting].values():
                assert f" {figure:.2f} ±" in shell.out, (subset, setting)
    for place in ("store", "checkpoint-best.safetensors", "metrics.json", "predictions.parquet"):
        assert place in shell.out
    assert shell.out.splitlines()[-1].startswith(f"report      {finished.run_dir / 'report.html'}: ")
    assert (finished.run_dir / "report.html").stat().st_size > 100_000


def test_a_run_leaves_the_files_it_promises(finished: Config) -> None:
    run = finished.run_dir
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {
        "config.yaml", "events.jsonl", "metrics.json", "metrics.md", "metrics.tex", "per_verb.csv",
        "confusion.csv", "predictions.parquet", "report.html", "store/manifest.json",
    } <= names  # fmt: skip
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert {"rationales-finished", "banks-finished", "epoch", "evaluated"} <= set(events)
    ended = [
        event
        for line in (run / "events.jsonl").read_text().splitlines()
        if (event := json.loads(line))["event"] == "stage-ended"
    ]
    assert ended
    assert all(event["seconds"] > 0 for event in ended)
    predictions = pl.read_parquet(run / "predictions.parquet")
    assert predictions.height == json.loads((run / "metrics.json").read_text())["subsets"]["all"]["samples"]


def test_inspect_prints_text_and_json(finished: Config, shell: Shell) -> None:
    config = file_of(finished)
    image = read_rationales(StorePaths(finished.store))["image"][0]
    assert shell.run("inspect", "summary", "-c", config) == 0
    assert "student-vision" in shell.out
    assert shell.run("inspect", "summary", "-c", config, "--json") == 0
    assert {row["rejected"] for row in json.loads(shell.out)["rationales"]} == {0}
    assert shell.run("inspect", "rows", "-c", config, "--image", image, "--polarity", "negative") == 0
    assert shell.out.count(image) == 2
    assert shell.run("inspect", "show", image, "-c", config, "--json") == 0
    assert len(json.loads(shell.out)["rationales"]) == 4
    assert shell.run("inspect", "verify", "-c", config) == 0
    assert shell.out.rstrip().endswith("whole")


def test_search_finds_the_rationale_that_says_so(finished: Config, shell: Shell) -> None:
    row = read_rationales(StorePaths(finished.store)).filter(pl.col("aspect") == "gaze").row(0, named=True)
    assert shell.run("inspect", "search", row["text"], "-c", file_of(finished), "--json") == 0
    first = json.loads(shell.out)[0]
    assert first["text"] == row["text"]
    assert first["similarity"] == pytest.approx(1.0, abs=1e-3)


def test_a_picture_finds_pictures_and_filters_reach_the_search(finished: Config, shell: Shell) -> None:
    config, image = file_of(finished), read_rationales(StorePaths(finished.store))["image"][0]
    assert shell.run("inspect", "search", "--image", image, "-c", config, "-k", 3, "--json") == 0
    pictures = json.loads(shell.out)
    assert len(pictures) == 3
    assert image not in {hit["image"] for hit in pictures}
    assert shell.run("inspect", "search", "a", "-c", config, "--polarity", "negative", "--json") == 0
    assert {hit["polarity"] for hit in json.loads(shell.out)} == {"negative"}


def test_duplicates_are_listed_from_the_threshold_on(finished: Config, shell: Shell) -> None:
    options = ("-c", file_of(finished), "--threshold", "0.5", "--aspect", "gaze", "--limit", "2", "--json")
    assert shell.run("inspect", "duplicates", *options) == 0
    found = json.loads(shell.out)
    assert len(found["groups"]) == 2
    assert {row["aspect"] for group in found["groups"] for row in group["rationales"]} == {"gaze"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "rows", "--status", "bad"), "--status 'bad' is not one of accepted, rejected, failed"),
        (("inspect", "search", " "), "the search text is empty"),
        (("inspect", "show", "none.jpg"), "no picture 'none.jpg' in the data set or the store"),
        (("evaluate", "--split", "train"), "--split 'train' is not one of dev, test"),
        (("inspect", "summary", "--set", "run_dir=nowhere"), "no store at nowhere/store"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    finished: Config, shell: Shell, arguments: tuple[str, ...], message: str
) -> None:
    assert shell.run(*arguments, "-c", file_of(finished)) == 2
    assert shell.err.rstrip().splitlines()[-1].startswith("error: ")
    assert message in shell.err
    assert "Traceback" not in shell.err


def test_commands_that_an_error_names_come_with_the_options_they_need(finished: Config, shell: Shell) -> None:
    config = file_of(finished)
    assert shell.run("inspect", "show", "none.jpg", "-c", config, "--set", "train.epochs=3") == 2
    assert ("`mipd-pipe " in shell.err) == (f"options: -c {config} --set train.epochs=3)" in shell.err)
    assert shell.run("inspect", "summary", "-c", config, "--set", "run_dir=nowhere") == 2
    assert shell.err.rstrip().endswith(f"(with this call's options: -c {config} --set run_dir=nowhere)")


def test_an_unknown_option_ends_with_2(shell: Shell) -> None:
    assert shell.run("run", "--fast") == 2
    assert "No such option" in shell.err


def test_a_second_writer_is_refused_by_name(finished: Config, shell: Shell) -> None:
    with writer_lock(finished.store, "embed-teacher"):
        assert shell.run("generate-rationales", "-c", file_of(finished)) == 2
    assert "is being written by `embed-teacher` (process" in shell.err


def test_escapes_that_a_model_wrote_do_not_reach_the_terminal(
    finished: Config, shell: Shell, tmp_path: Path
) -> None:
    shutil.copytree(finished.run_dir, tmp_path / "run")
    store = StorePaths(tmp_path / "run" / "store")
    row = read_rationales(store).drop("current", "usable").row(0, named=True)
    append_rationales(store, [{**row, "text": "\x1b[2Jgone \u202e", "request_key": "other"}], {})
    for command in (("rows", "--image", row["image"]), ("show", row["image"])):
        assert (
            shell.run("inspect", *command, "-c", file_of(finished), "--set", f"run_dir={tmp_path}/run") == 0
        )
        assert "\\x1b[2Jgone \\u202e" in shell.out
        assert "\x1b" not in shell.out


def test_a_bad_picture_goes_to_quarantine_and_the_rest_goes_on(
    drawn_data: Path, tmp_path: Path, shell: Shell, small_config: Callable[..., Config]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_data, data)
    train = sorted(json.loads((data / "SWiG_jsons" / "train.json").read_text()))
    (data / "images_512" / train[0]).write_bytes(b"")
    config = write(small_config(tmp_path / "run", f"data.root={data}"))
    assert shell.run("generate-rationales", "-c", config) == 0
    assert shell.run("inspect", "rows", "--status", "failed", "-c", config, "--json") == 0
    (failure,) = json.loads(shell.out)
    assert failure["image"] == train[0]
    assert "zero-byte file" in failure["reason"]
    written = read_rationales(StorePaths(tmp_path / "run" / "store"))["image"].unique()
    assert set(written) == set(train[1:])
    assert shell.run("generate-rationales", "-c", config) == 0
    assert shell.run("inspect", "rows", "--status", "failed", "-c", config, "--json") == 0
    assert len(json.loads(shell.out)) == 1, "a second call must not report the same failure again"
    for stage in ("embed-teacher", "train-student", "evaluate"):
        assert shell.run(stage, "-c", config) == 0, shell.err


def test_too_many_bad_pictures_end_with_1_and_keep_the_rest(
    drawn_data: Path, tmp_path: Path, shell: Shell, small_config: Callable[..., Config]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_data, data)
    train = sorted(json.loads((data / "SWiG_jsons" / "train.json").read_text()))
    for image in train[: len(train) // 5]:
        (data / "images_512" / image).unlink()
    config = write(small_config(tmp_path / "run", f"data.root={data}"))
    assert shell.run("generate-rationales", "-c", config) == 1
    assert f"{len(train) // 5} of {len(train)} training pictures failed" in shell.err
    assert "more than max_failure_rate 5.0%; everything finished is kept" in shell.err
    rows = read_rationales(StorePaths(tmp_path / "run" / "store")).filter("usable")
    assert rows.height == 4 * (len(train) - len(train) // 5)
    assert shell.run("check-data", "-c", config) == 1


def test_a_broken_file_stops_before_any_work(
    drawn_data: Path, tmp_path: Path, shell: Shell, small_config: Callable[..., Config]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_data, data)
    (data / "SWiG_jsons" / "train.json").write_text('{"a.jpg": ')
    config = write(small_config(tmp_path / "run", f"data.root={data}"))
    assert shell.run("run", "-c", config) == 2
    assert "train.json" in shell.err
    assert not (tmp_path / "run" / "store").exists()


def test_a_changed_data_set_is_refused_by_training(
    finished: Config, drawn_data: Path, tmp_path: Path, shell: Shell
) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn_data, data)
    path = data / "SWiG_jsons" / "train.json"
    train = json.loads(path.read_text())
    train.pop(sorted(train)[0])
    path.write_text(json.dumps(train))
    assert shell.run("train-student", "-c", file_of(finished), "--set", f"data.root={data}") == 2
    assert "annotations, vocabulary or split changed; bring the store up to date" in shell.err
    rows = read_rationales(StorePaths(finished.store))
    assert shell.run("run", "-c", file_of(finished), "--set", f"data.root={data}") == 2
    assert "was trained on data" in shell.err
    assert "nothing was generated. Give this data a run of its own" in shell.err
    assert read_rationales(StorePaths(finished.store)).equals(rows)


def test_a_mistyped_root_draws_no_demo_data(tmp_path: Path, shell: Shell) -> None:
    root = tmp_path / "typo"
    assert (
        shell.run("check-data", "-c", "demo", "--set", f"data.root={root}", "--set", f"run_dir={tmp_path}/r")
        == 2
    )
    assert f"{root} is not a folder" in shell.err
    assert not root.exists()


def test_figures_of_the_dev_set_lie_beside_those_of_the_test_set(
    finished: Config, tmp_path: Path, shell: Shell
) -> None:
    shutil.copytree(finished.run_dir, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.json").read_text()
    run_dir = f"run_dir={tmp_path}/run"
    assert shell.run("evaluate", "--split", "dev", "-c", file_of(finished), "--set", run_dir) == 0
    assert (tmp_path / "run" / "metrics.json").read_text() == before
    assert json.loads((tmp_path / "run" / "metrics-dev.json").read_text())["split"] == "dev"


def test_verbs_and_what_they_are_taken_for_are_told_where_asked(finished: Config, shell: Shell) -> None:
    command = ("evaluate", "-c", file_of(finished), "--per-verb", "--confusion")
    assert shell.run(*command) == 0
    assert max(map(len, shell.out.splitlines())) <= 110
    told = shell.out
    assert shell.run(*command, "--json") == 0
    data = json.loads(shell.out)
    predictions = pl.read_parquet(finished.run_dir / "predictions.parquet")
    missed = predictions.filter(pl.col("rank") > 0)
    confusion = pl.read_csv(finished.run_dir / "confusion.csv")
    assert confusion["times"].sum() == missed.height
    assert len(data["confusion"]) == min(10, missed["verb"].n_unique())
    worst = data["confusion"][0]
    pairs = confusion.filter(pl.col("verb") == worst["verb"]).select("taken_for", "times").iter_rows()
    assert dict(pairs) == worst["taken_for"]
    verbs = pl.read_csv(finished.run_dir / "per_verb.csv")
    assert verbs.to_dicts() == data["per_verb"]
    assert verbs["top1_verb"].mean() == pytest.approx(data["subsets"]["all"]["top1"]["verb"])
    assert verbs["pictures"].sum() == predictions.height
    for verb in (worst["verb"], verbs["verb"][0]):
        assert f"\n{verb} " in told


def test_evaluation_needs_no_teacher_bank_and_no_rationale(
    finished: Config, tmp_path: Path, shell: Shell
) -> None:
    shutil.copytree(finished.run_dir, tmp_path / "run")
    store = StorePaths(tmp_path / "run" / "store")
    for folder in (store.rationales, store.vectors, store.index, *store.root.glob("banks/*")):
        if folder.name != "student-vision":
            shutil.rmtree(folder)
    before = {
        name: (tmp_path / "run" / name).read_bytes() for name in ("metrics.json", "predictions.parquet")
    }
    for name in before:
        (tmp_path / "run" / name).unlink()
    assert shell.run("evaluate", "-c", file_of(finished), "--set", f"run_dir={tmp_path}/run") == 0, shell.err
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


def test_compare_averages_runs_that_differ_in_the_seed_alone(finished: Config, shell: Shell) -> None:
    assert shell.run("compare", finished.run_dir, finished.run_dir, "--json") == 0
    (group,) = json.loads(shell.out)
    metrics = json.loads((finished.run_dir / "metrics.json").read_text())
    assert group["runs"] == 2
    assert group["figures"]["top1.verb"]["seen"] == {
        "mean": metrics["subsets"]["seen"]["top1"]["verb"],
        "deviation": 0.0,
        "half_interval": 0.0,
    }
    assert shell.run("compare", finished.run_dir / "store") == 2
    assert "holds no evaluated run (no config.yaml)" in shell.err


def test_the_configuration_found_in_this_folder_is_told(
    finished: Config, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mipd.yaml").write_text(dump_config(finished))
    assert shell.run("inspect", "rows", "--limit", "1") == 0
    assert "using mipd.yaml of this folder" in shell.err
    assert shell.run("inspect", "rows", "--limit", "1", "-c", "mipd.yaml") == 0
    assert "using" not in shell.err

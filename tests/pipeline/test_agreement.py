"""Checkpoint, store, data set and settings that do not belong together are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from cache.errors import FindingsError, UserError
from cache.paths import StorePaths
from cache.rationales import append_rationales, read_quarantine, read_rationales
from pipeline import stage_one, stage_two
from pipeline.config import Config
from pipeline.figures.compare import compare
from pipeline.looking import health, inspect
from pipeline.looking.search import search
from pipeline.workspace import Workspace
from stages.student.training.checkpoint import BEST
from stages.student.training.tensor_file import load_facts

Make = Callable[..., Config]


# Every rationale is rejected, and nobody stops because of it.
REJECTED = ("teacher.judge.min_words=100", "teacher.give_up_after=0", "max_failure_rate=1.0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_config: Make) -> Config:
    """A run that was trained; tests must not change it."""
    config = small_config(tmp_path_factory.mktemp("trained") / "run", "train.epochs=1")
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    return config


@pytest.fixture
def copied(trained: Config, tmp_path: Path) -> Path:
    """The run folder of the trained run, to be changed."""
    return Path(shutil.copytree(trained.run_dir, tmp_path / "run"))


def holding_out(folder: Path, *verbs: str) -> str:
    path = folder / "verbs.yaml"
    path.write_text(yaml.safe_dump({"unseen": list(verbs)}))
    return f"data.unseen_verbs_file={path}"


def a_trained_verb(config: Config) -> str:
    return sorted(sample.verb for sample in Workspace(config).data.split("train"))[0]


def test_figures_of_another_split_than_trained_on_are_refused(
    copied: Path, tmp_path: Path, trained: Config, small_config: Make
) -> None:
    verb = a_trained_verb(trained)
    workspace = Workspace(small_config(copied, "train.epochs=1", holding_out(tmp_path, verb)))
    with pytest.raises(
        UserError, match=r"verbs belong to another subset.*figures on unseen verbs would be of"
    ):
        stage_two.evaluate(workspace)


def test_a_student_is_not_shown_the_tokens_of_another_encoder(copied: Path, small_config: Make) -> None:
    workspace = Workspace(small_config(copied, "train.epochs=1", "embed.student_vision.variant=teacher"))
    stage_one.embed_teacher(workspace)
    with pytest.raises(
        UserError, match=r"made by another encoder .*\n  encoder.variant: 'student' -> 'teacher'"
    ):
        stage_two.evaluate(workspace)


def test_rationales_that_changed_after_they_were_embedded_are_refused(
    copied: Path, tmp_path: Path, small_config: Make
) -> None:
    changed = small_config(copied, "teacher.seed=7")
    stage_one.generate_rationales(Workspace(changed))
    elsewhere = {"run_dir": tmp_path / "other", "store_dir": changed.store}
    other = Workspace(changed.model_copy(update=elsewhere))
    with pytest.raises(UserError, match=r"rationales of 104 training pictures.*`mipd-pipe embed-teacher`"):
        stage_two.train_student(other)
    stage_one.embed_teacher(other)
    stage_two.train_student(other)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_pictures_that_changed_after_they_were_embedded_are_refused(
    copied: Path, tmp_path: Path, drawn_data: Path, small_config: Make, split: str
) -> None:
    data = shutil.copytree(drawn_data, tmp_path / "data")
    config = small_config(copied, f"data.root={data}")
    stage_two.training_data(Workspace(config))
    subsets = Workspace(config).data.subset_of
    image = next(
        s.image for s in Workspace(config).data.samples if s.split == split and subsets[s.verb] == "seen"
    )
    path = Workspace(config).data.picture(image)
    path.write_bytes(path.read_bytes() + b"\0")
    message = rf"^1 of \d+ pictures, e.g. '{image}', are not the ones that bank student-vision was made of"
    with pytest.raises(UserError, match=message):
        stage_two.training_data(Workspace(config))
    path.unlink()  # training needs no picture, only not another one
    stage_two.training_data(Workspace(config))
    shutil.copy(drawn_data / path.relative_to(data), path)
    stage_two.training_data(Workspace(config))


def test_a_rationale_that_names_a_held_out_verb_is_refused(copied: Path, small_config: Make) -> None:
    """As an interrupted call leaves it: the store says what is held out, a row of before still names it."""
    workspace = Workspace(small_config(copied))
    held_out = next(verb for verb, subset in workspace.data.subset_of.items() if subset == "unseen")
    row = read_rationales(workspace.store).drop("current", "usable").row(0, named=True)
    text = f"A person stands by and watches the others {held_out} at the river."
    append_rationales(workspace.store, [{**row, "text": text}], {})
    stage_one.embed_teacher(workspace)
    with pytest.raises(UserError, match=rf"{row['image']}' names the held-out verb '{held_out}'; write"):
        stage_two.training_data(workspace)


def test_a_verb_held_out_later_leaves_a_store_that_can_be_used(
    copied: Path, tmp_path: Path, trained: Config, small_config: Make
) -> None:
    """Its pictures leave the training set; their rows stay in the store and hurt nobody."""
    held_out = holding_out(tmp_path, a_trained_verb(trained))
    config = small_config(tmp_path / "other", held_out).model_copy(update={"store_dir": copied / "store"})
    workspace = Workspace(config)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    assert health.verify_store(workspace, fast=False).data["faults"] == []


def test_search_goes_on_where_a_rationale_was_replaced_after_embedding(
    copied: Path, small_config: Make
) -> None:
    strict = small_config(copied, *REJECTED, "teacher.judge.max_attempts=1")
    stage_one.generate_rationales(Workspace(strict))
    found = search(Workspace(strict), "a horse", None, {}, 3).data
    assert {hit["text"] for hit in found} == {"(no longer in use: run `mipd-pipe embed-teacher`)"}


def test_a_search_by_another_encoder_is_refused(copied: Path, small_config: Make) -> None:
    with pytest.raises(UserError, match=r"embedded by another text encoder than `embed.text` names"):
        search(Workspace(small_config(copied, "embed.text.max_tokens=31")), "a horse", None, {}, 3)


def test_filters_that_say_nothing_about_failures_are_refused(trained: Config) -> None:
    with pytest.raises(UserError, match="--verb does not go with --status failed"):
        inspect.rows(Workspace(trained), {"status": "failed", "verb": "jumping"}, False, 5)


def test_bad_pictures_of_every_split_are_kept_with_their_reason(
    drawn_data: Path, tmp_path: Path, small_config: Make
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    tests = sorted(json.loads((data / "SWiG_jsons" / "test.json").read_text()))
    bad = tests[:20]
    for image in bad:
        (data / "images_512" / image).write_bytes(b"")
    workspace = Workspace(small_config(tmp_path / "run", f"data.root={data}"))
    stage_one.generate_rationales(workspace)
    with pytest.raises(FindingsError, match=r"20 of 200 pictures of all splits failed \(10.0%\), more than"):
        stage_one.embed_teacher(workspace)
    failed = read_quarantine(workspace.store)
    assert failed["image"].to_list() == bad
    assert failed["reason"].str.contains("zero-byte file").all()
    assert len(pl.read_parquet(workspace.store.quarantine / "*.parquet")) == 20
    with pytest.raises(FindingsError):
        stage_one.embed_teacher(workspace)
    assert len(pl.read_parquet(workspace.store.quarantine / "*.parquet")) == 20, "each is kept once"


def test_a_data_set_without_a_training_picture_is_refused(
    drawn_data: Path, tmp_path: Path, copied: Path, small_config: Make
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    path = data / "SWiG_jsons" / "train.json"
    path.write_text(json.dumps({image: {} for image in json.loads(path.read_text())}))
    workspace = Workspace(small_config(copied, f"data.root={data}", "max_failure_rate=1.0"))
    stage_one.generate_rationales(workspace)
    with pytest.raises(
        UserError, match="has no usable training picture; see why with `mipd-pipe check-data`"
    ):
        stage_two.train_student(workspace)


def test_a_store_without_any_accepted_rationale_cannot_be_distilled(copied: Path, small_config: Make) -> None:
    strict = (*REJECTED, "teacher.judge.max_attempts=1", "train.epochs=1")
    workspace = Workspace(small_config(copied, *strict))
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    with pytest.raises(
        UserError, match=r"none of the 104 training pictures has an accepted .* nothing to distil"
    ):
        stage_two.training_data(workspace)
    stage_two.training_data(Workspace(small_config(copied, *strict, "student.distill=false")))


def test_a_dev_set_without_seen_verbs_is_said_and_trains_to_the_last_epoch(
    drawn_data: Path, tmp_path: Path, copied: Path, small_config: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    path = data / "SWiG_jsons" / "dev.json"
    unseen = json.loads((path.parent / "splits.json").read_text())["unseen"]
    dev = json.loads(path.read_text())
    path.write_text(json.dumps({image: entry for image, entry in dev.items() if entry["verb"] in unseen}))
    config = small_config(tmp_path / "other", f"data.root={data}")
    workspace = Workspace(config.model_copy(update={"store_dir": copied / "store"}))
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    assert "no picture of a seen verb, so the last epoch counts as the best" in capsys.readouterr().err
    facts = load_facts(tmp_path / "other" / "student" / BEST)
    assert (facts["epoch"], facts["selected"]) == (2, None)


def test_labels_in_another_order_are_embedded_again(
    drawn_data: Path, tmp_path: Path, copied: Path, small_config: Make
) -> None:
    """A class is known by its number, which is its place in the list."""
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    path = data / "SWiG_jsons" / "verb_indices.txt"
    path.write_text("\n".join(reversed(path.read_text().split())))
    workspace = Workspace(small_config(copied, f"data.root={data}"))
    stage_one.generate_rationales(workspace)
    with pytest.raises(UserError, match="the order differs; embed them again with `mipd-pipe embed-teacher`"):
        stage_two.training_data(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.training_data(workspace)


def test_a_run_that_lost_its_best_checkpoint_says_so(copied: Path, small_config: Make) -> None:
    (copied / "student" / BEST).unlink()
    with pytest.raises(UserError, match=r"checkpoint-best.safetensors is missing, but 1 epochs are done"):
        stage_two.train_student(Workspace(small_config(copied, "train.epochs=1")))


def test_half_written_states_of_a_killed_run_are_removed(copied: Path, small_config: Make) -> None:
    left = copied / "student" / "state-00000003.safetensors.tmp-4711"
    left.write_bytes(b"half")
    stage_two.train_student(Workspace(small_config(copied, "train.epochs=1")))
    assert not left.exists()


def test_every_attempt_that_is_still_allowed_is_asked_for(copied: Path, small_config: Make) -> None:
    """A raised bound asks again for what is rejected; going back to what was finished asks for nothing."""

    def asked() -> int:
        lines = (copied / "events.jsonl").read_text().splitlines()
        return int([e["asked"] for e in map(json.loads, lines) if e["event"] == "rationales-finished"][-1])

    for bound, settings, expected in (
        (1, REJECTED, 104),
        (1, REJECTED, 0),
        (2, REJECTED, 104),
        (2, REJECTED, 0),
        (3, (), 0),  # the first settings, although what replaced them may be asked for once more
    ):
        config = small_config(copied, *settings, f"teacher.judge.max_attempts={bound}")
        stage_one.generate_rationales(Workspace(config))
        assert asked() == expected, (bound, settings)
    assert read_rationales(StorePaths(copied / "store")).filter("usable").height == 4 * 104


def test_runs_measured_on_different_data_are_not_compared(
    copied: Path, tmp_path: Path, small_config: Make
) -> None:
    stage_two.evaluate(Workspace(small_config(copied, "train.epochs=1")))
    other = Path(shutil.copytree(copied, tmp_path / "other"))
    metrics = json.loads((copied / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps({**metrics, "data": {"evaluated": "e1se"}}))
    own = metrics["data"]["evaluated"]
    with pytest.raises(
        UserError, match=rf"different data \({copied} on {own}, {other} on e1se\), so their figures cannot"
    ):
        compare([copied, other])
    del metrics["data"]
    (other / "metrics.json").write_text(json.dumps(metrics))
    assert "reference (2 runs)" in compare([copied, other]).text


def test_runs_measured_on_different_splits_are_not_compared(copied: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copied, tmp_path / "other"))
    for run, split in ((copied, "test"), (other, "dev")):
        (run / "metrics.json").write_text(json.dumps({"split": split}))
    with pytest.raises(
        UserError, match=r"different splits \(.* on test, .* on dev\), so their figures cannot"
    ):
        compare([copied, other])

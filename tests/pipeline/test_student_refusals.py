"""What cannot be trained on, gone on from or measured is refused in words, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from cache.errors import UserError
from pipeline import stage_one, stage_two
from pipeline.config import Config, load_config
from pipeline.workspace import Workspace
from stages.data.scenes import ANNOTATIONS, draw_data_set
from stages.student.training.checkpoint import BEST
from stages.student.training.tensor_file import FORMAT, load_tensors, save_tensors

Make = Callable[..., Config]


@pytest.fixture
def copied(trained: Config, tmp_path: Path) -> Path:
    """The run folder of the trained run, to be changed."""
    return Path(shutil.copytree(trained.run_dir, tmp_path / "run"))


def write_facts(file: Path, **changes: Any) -> None:
    tensors, facts = load_tensors(file)
    save_tensors(file, tensors, {**facts, **changes})


def test_a_checkpoint_of_other_data_is_not_measured_on_these(copied: Path, small_config: Make) -> None:
    file = copied / "student" / BEST
    _, facts = load_tensors(file)
    first = next(iter(facts["verbs"]))
    write_facts(file, verbs={verb: roles for verb, roles in facts["verbs"].items() if verb != first})
    message = (
        r"^the checkpoint knows 47 verbs, the data set 48, and they are not the same in the same order; "
        r"evaluate on the data set it was trained on, or train again$"
    )
    with pytest.raises(UserError, match=message):
        stage_two.evaluate(Workspace(small_config(copied)))
    write_facts(file, verbs=facts["verbs"], nouns={"n1": "horse"})
    with pytest.raises(UserError, match=r"^the checkpoint knows 1 nouns, the data set \d+, and they are not"):
        stage_two.evaluate(Workspace(small_config(copied)))


def test_figures_on_other_data_with_the_same_labels_are_told_to_be(copied: Path, small_config: Make) -> None:
    file, config = copied / "student" / BEST, small_config(copied)
    own = Workspace(config).data.fingerprint
    result = stage_two.evaluate(Workspace(config))
    assert "was trained on data" not in result.text
    assert json.loads((copied / "metrics.json").read_text())["data"] == {"evaluated": own, "trained": own}
    _, facts = load_tensors(file)
    write_facts(file, fingerprint={**facts["fingerprint"], "data": "e1se"})
    result = stage_two.evaluate(Workspace(config))
    assert result.text.startswith(
        f"note: the checkpoint was trained on data e1se, {config.data.root} is {own}: another data set, or "
        "its annotations or split changed since. The figures are of this one's; they mean what they say only "
        "if none of its test pictures was a training picture there\n"
    )
    assert json.loads((copied / "metrics.json").read_text())["data"] == {"evaluated": own, "trained": "e1se"}


def test_a_store_of_other_pictures_with_the_same_names_is_not_measured_on(
    copied: Path, small_config: Make, tmp_path: Path
) -> None:
    other = tmp_path / "data"
    draw_data_set(other, images=200, seed=5)
    before = (copied / "metrics.json").read_bytes()
    config = small_config(copied, f"data.root={other}")
    message = rf"^the store at {copied}/store was written for data \w+, but {other} is now \w+: annotations"
    with pytest.raises(UserError, match=message):
        stage_two.evaluate(Workspace(config))
    assert (copied / "metrics.json").read_bytes() == before


def test_pictures_that_changed_after_they_were_embedded_are_not_measured_on(
    copied: Path, small_config: Make, drawn_data: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    config = small_config(copied, f"data.root={data}")
    stage_two.evaluate(Workspace(config))
    picture = Workspace(config).data.picture(Workspace(config).data.split("test")[0].image)
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(UserError, match=rf"^1 of \d+ pictures, e.g. '{picture.name}', are not the ones that"):
        stage_two.evaluate(Workspace(config))


def test_a_run_without_a_student_says_so_before_anything_is_drawn(tmp_path: Path) -> None:
    config = load_config(Path("demo"), [f"run_dir={tmp_path / 'run'}"])
    empty = config.model_copy(update={"data": config.data.model_copy(update={"root": tmp_path / "data"})})
    with pytest.raises(UserError, match="train-student"):
        stage_two.evaluate(Workspace(empty))
    assert not (tmp_path / "data").exists()


def test_a_cut_checkpoint_and_one_of_a_newer_version_are_named(copied: Path, small_config: Make) -> None:
    file = copied / "student" / BEST
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        UserError, match=r"checkpoint-best.safetensors cannot be read .*; it is cut off or no"
    ):
        stage_two.evaluate(Workspace(small_config(copied)))
    tensors, facts = load_tensors_of(whole, copied)
    document = json.dumps({**facts, "format": FORMAT + 1})
    save_file(tensors, file, metadata={"mipd": document})
    message = (
        rf"has checkpoint format {FORMAT + 1}; this version reads format {FORMAT}: use the version of "
        r"mipd-pipe that wrote it, or train again with `mipd-pipe train-student --set run_dir=ANOTHER "
    )
    with pytest.raises(UserError, match=message):
        stage_two.evaluate(Workspace(small_config(copied)))


def load_tensors_of(data: bytes, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    (folder / "whole.safetensors").write_bytes(data)
    return load_tensors(folder / "whole.safetensors")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("embed.text.pooled_dim=24", "data.labels verbs"),
        ("embed.student_vision.variant=teacher", "data.bank student-vision"),
    ],
)
def test_training_does_not_go_on_over_labels_or_banks_made_anew(
    copied: Path, small_config: Make, changed: str, named: str
) -> None:
    workspace = Workspace(small_config(copied, "train.epochs=2", changed))
    stage_one.embed_teacher(workspace)
    before = {path.name: path.read_bytes() for path in (copied / "student").glob("*.safetensors")}
    with pytest.raises(
        UserError, match=rf"other settings or data, (.|\n)*\n  {named}: .* -> (.|\n)*\nPut them back"
    ):
        stage_two.train_student(workspace)
    assert before == {path.name: path.read_bytes() for path in (copied / "student").glob("*.safetensors")}


def test_a_split_without_a_picture_has_no_figures(copied: Path, trained: Config, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(trained.data.root, root, copy_function=shutil.copy)
    file = root / ANNOTATIONS / "test.json"
    image, entry = next(iter(json.loads(file.read_text()).items()))
    file.write_text(json.dumps({image: {**entry, "verb": "no-such-verb"}}))
    data = trained.data.model_copy(update={"root": root})
    workspace = Workspace(trained.model_copy(update={"run_dir": copied, "data": data}))
    with pytest.raises(
        UserError, match=r"^the test split of .*/data has no usable picture; see `check-data`$"
    ):
        stage_two.evaluate(workspace)

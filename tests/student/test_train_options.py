"""Options of training that change what is kept: whole after a stop, blind to held-out pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cache.errors import UserError
from cache.paths import StorePaths
from stages.data.sample import Subset
from stages.reporter import SilentReporter
from stages.student.network.labels import assemble_labels, label_centres
from stages.student.network.queries import LearnedQueries
from stages.student.reading.data_order import epoch_batches
from stages.student.reading.dataset import StoreDataset
from stages.student.settings import Contrast, LossSettings, StudentSettings, TrainSettings
from stages.student.training import calibration
from stages.student.training.checkpoint import BEST, load_student
from stages.student.training.tensor_file import load_tensors
from stages.student.training.train import Trainer
from stages.student.training_data import TrainingData
from tests.student.store import VOCABULARY, make_store, sample

SUBSETS: dict[str, Subset] = {"jumping": "seen", "riding": "rare", "sleeping": "unseen"}
IMAGES = tuple(f"{i}.jpg" for i in range(10))
SMALL = {"dim": 16, "heads": 2, "alignment_heads": 2, "feed_forward": 16, "head_hidden": 16}


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """Seven pictures of one verb and one of another; two to select on."""
    paths = make_store(tmp_path / "store", IMAGES, IMAGES)
    verbs = ["jumping"] * 7 + ["riding"] + ["jumping"] * 2
    samples = [sample(i, verb, box=(20.0, 10.0, 120.0, 60.0)) for i, verb in zip(IMAGES, verbs, strict=True)]
    return training_data(paths, samples[:8], samples[8:])


def training_data(paths: StorePaths, train: list[Any], select: list[Any]) -> TrainingData:
    random = torch.Generator().manual_seed(0)
    verb, role, noun = (torch.randn(count, 16, generator=random) for count in (3, 5, 5))
    return TrainingData(
        train=StoreDataset(paths, train, VOCABULARY, True, mined={"0.jpg": ["7.jpg", "8.jpg"]}),
        select=StoreDataset(paths, select, VOCABULARY, False),
        labels=assemble_labels(verb, role, [[0, 1], [2], [3, 4]], noun),
        vocabulary=VOCABULARY,
        subset_of=SUBSETS,
        fingerprint={},
        proof={},
    )


def train(
    data: TrainingData,
    folder: Path,
    student: dict[str, Any] | None = None,
    contrast: Contrast = "infonce",
    **settings: Any,
) -> dict[str, Tensor]:
    """Two epochs of four steps; what the checkpoint holds."""
    options = {"epochs": 2, "batch_size": 2, "lr": 1e-2, "device": "cpu", "precision": "fp32"}
    losses = LossSettings(contrast=contrast)
    Trainer(
        data,
        StudentSettings.model_validate({**SMALL, **(student or {})}),
        losses,
        TrainSettings.model_validate({**options, "checkpoint_every_steps": 3, "keep": 9, **settings}),
        folder,
        SilentReporter(),
    ).run()
    return load_tensors(folder / BEST)[0]


@pytest.mark.parametrize(
    "options", [{"ema": 0.7, "balance": 1.0, "calibrate": 50.0}, {"balance": 0.5}, {"ema": 0.9}]
)
def test_a_run_stopped_in_mid_epoch_ends_as_one_that_never_stopped(
    data: TrainingData, tmp_path: Path, options: dict[str, Any]
) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    train(data, undisturbed, **options)
    shutil.copytree(undisturbed, stopped)
    steps = [int(state.stem.removeprefix("state-")) for state in sorted(stopped.glob("state-*"))]
    assert steps == [3, 4, 6, 8]
    (stopped / "state-00000008.safetensors").unlink()  # 6 lies in the middle of the second epoch
    train(data, stopped, **options)
    for file in (BEST, "state-00000008.safetensors"):
        whole, resumed = load_tensors(undisturbed / file)[0], load_tensors(stopped / file)[0]
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_checkpoint_holds_the_average_while_training_goes_on_with_the_weights(
    data: TrainingData, tmp_path: Path
) -> None:
    plain, averaged = train(data, tmp_path / "a", epochs=1), train(data, tmp_path / "b", epochs=1, ema=0.7)
    state, _ = load_tensors(max((tmp_path / "b").glob("state-*")))
    before, _ = load_tensors(max((tmp_path / "a").glob("state-*")))
    name = "verb_projection.weight"
    assert torch.equal(averaged[f"student.{name}"], state[f"average.{name}"])
    assert not torch.equal(averaged[f"student.{name}"], plain[f"student.{name}"])
    assert torch.equal(state[f"model.student.{name}"], before[f"model.student.{name}"])


def test_calibration_raises_the_unseen_verb_alone_and_is_kept_with_the_labels(
    data: TrainingData, tmp_path: Path
) -> None:
    bias = train(data, tmp_path / "run", calibrate=60.0)["labels.verb_bias"]
    assert bias[:2].tolist() == [0, 0]
    assert bias[2] >= 0
    loaded = load_student(tmp_path / "run" / BEST).labels.verb_bias
    assert loaded is not None
    assert torch.equal(loaded, bias)
    assert "labels.verb_bias" not in train(data, tmp_path / "other", calibrate=0)


def test_calibration_is_the_methods_default_and_not_the_released_codes(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[tuple[float, float]] = []

    def bias(logits: Tensor, verb: Tensor, unseen: Tensor, tolerance: float, share: float) -> float:
        allowed.append((tolerance, share))
        return 1.5

    monkeypatch.setattr(calibration, "unseen_bias", bias)
    assert train(data, tmp_path / "default", epochs=1)["labels.verb_bias"].tolist() == [0, 0, 1.5]
    assert allowed == [(2.0, 0.05)]
    released = {"as_released": True}
    assert "labels.verb_bias" not in train(data, tmp_path / "released", student=released, epochs=1)
    assert len(allowed) == 1
    train(data, tmp_path / "asked", student=released, epochs=1, calibrate=60.0)
    assert allowed[1:] == [(60.0, 1.0)]


def test_calibration_on_a_held_out_picture_is_refused(data: TrainingData, tmp_path: Path) -> None:
    paths = StorePaths(tmp_path / "store")
    leaky = training_data(paths, [sample("0.jpg")], [sample("8.jpg"), sample("9.jpg", "sleeping")])
    with pytest.raises(UserError, match="1 of 2 pictures for the calibration are of held-out verbs"):
        train(leaky, tmp_path / "run", calibrate=5.0)


def test_balance_shows_the_rare_verb_as_often_as_the_other(data: TrainingData) -> None:
    rows = [row for batch in epoch_batches(data.train, 2, 0, 0, balance=1.0) for row in batch]
    verbs = [data.train.samples[row].verb for row in rows]
    assert (verbs.count("jumping"), verbs.count("riding")) == (4, 4)


def test_centres_are_of_the_training_verbs_and_come_back_with_the_checkpoint(
    data: TrainingData, tmp_path: Path
) -> None:
    train(data, tmp_path / "run", {"centre_labels": True}, epochs=1)
    expected = label_centres(data.labels, torch.tensor([True, True, False]))
    assert torch.equal(load_student(tmp_path / "run" / BEST).student.label_centres, expected)
    train(data, tmp_path / "other", epochs=1)
    assert not load_student(tmp_path / "other" / BEST).student.label_centres.any()


@pytest.mark.parametrize("options", [{"as_released": True}, {"text_queries": False}])
def test_learned_queries_come_back_with_the_checkpoint(
    data: TrainingData, tmp_path: Path, options: dict[str, bool]
) -> None:
    weights = train(data, tmp_path / "run", options, epochs=1)
    queries = load_student(tmp_path / "run" / BEST).student.role_query
    assert isinstance(queries, LearnedQueries)
    assert torch.equal(queries.verb.weight, weights["student.role_query.verb.weight"])
    assert queries.roles.tolist()[0][:3] == [0, 1, -1]


def test_mined_rationales_are_read_with_their_picture(data: TrainingData) -> None:
    batch, other = data.train.read([0, 3]), data.train.read([7])
    assert batch.teacher is not None
    assert other.teacher is not None
    assert batch.teacher.mined is not None
    assert batch.teacher.mined_mask is not None
    assert batch.teacher.mined.shape == (2, 2, 2, 3, 5)
    for aspect, kind in enumerate((0, 2)):  # positive glimpse, positive gaze
        assert torch.equal(batch.teacher.mined[0, 0, aspect], other.teacher.text[0, kind])
        assert torch.equal(batch.teacher.mined_mask[0, 0, aspect], other.teacher.text_mask[0, kind])
    assert not batch.teacher.mined_mask[1].any()


def test_steps_in_parts_end_in_the_same_student(data: TrainingData, tmp_path: Path) -> None:
    """The last batch of an epoch has fewer pictures than parts."""
    still = {"input_dropout": 0.0, "decoder_dropout": 0.0, "head_dropout": 0.0}
    whole = train(data, tmp_path / "whole", still, "hinge", batch_size=3, lr=1e-4)
    parts = train(data, tmp_path / "parts", still, "hinge", batch_size=3, lr=1e-4, accumulate=3)
    apart = torch.cat(
        [(parts[name].float() - tensor.float()).abs().flatten() for name, tensor in whole.items()]
    )
    assert apart.mean() < 1e-6
    assert apart.max() < 1e-3


def test_what_is_to_be_compiled_is_what_the_steps_compute(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that counts in the place of torch's, which takes minutes on a busy CPU."""
    called: list[str] = []

    def compiled(module: nn.Module) -> None:
        module.register_forward_hook(lambda m, *_: called.append(type(m).__name__))

    monkeypatch.setattr(nn.Module, "compile", compiled)
    train(data, tmp_path / "plain", batch_size=4)
    assert called == []
    train(data, tmp_path / "compiled", batch_size=4, compile=True)
    assert called == ["Objective"] * 4

"""A batch in parts, and in several processes, is the same step as the batch in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cache.errors import UserError
from stages.student.objective.objective import TERMS, Loss
from stages.student.parts import own_parts, refuse_parts
from stages.student.processes import Processes
from stages.student.reading.batch import Batch, TeacherTargets
from stages.student.settings import LossSettings, StudentSettings, TrainSettings
from stages.student.term_counts import shares
from stages.student.training.step import Stepper

CPU = torch.device("cpu")
STILL = {"input_dropout": 0.0, "decoder_dropout": 0.0, "head_dropout": 0.0}


def holed(batch: Batch, seed: int) -> Batch:
    """Boxes and rationales missing here and there, more in the first pictures than in the last.

    The negatives say what the positives say, so that their terms are not 0.
    """
    random = torch.Generator().manual_seed(seed)
    some = torch.linspace(0, 1, len(batch.images))

    def kept(mask: Tensor) -> Tensor:
        share = some.view(-1, *[1] * (mask.ndim - 1))
        return mask & (torch.rand(mask.shape, generator=random) < share)

    assert batch.teacher
    told = kept(torch.ones(batch.teacher.text_mask.shape[:2], dtype=torch.bool))
    teacher = replace(
        batch.teacher,
        text=batch.teacher.text * torch.tensor([1, -1, 1, -1])[:, None, None],
        role_box_valid=kept(batch.teacher.role_box_valid),
        text_mask=batch.teacher.text_mask & told[..., None],
    )
    return replace(batch, box_exists=kept(batch.box_exists), teacher=teacher)


def pictures(batch: Batch, rows: Sequence[int]) -> Batch:
    def some(record: Batch | TeacherTargets) -> dict[str, Any]:
        values = {field.name: getattr(record, field.name) for field in fields(record)}
        return {name: value[list(rows)] for name, value in values.items() if isinstance(value, Tensor)}

    assert batch.teacher
    images = tuple(batch.images[row] for row in rows)
    return replace(batch, images=images, **some(batch), teacher=replace(batch.teacher, **some(batch.teacher)))


def stepper(world: Any) -> Stepper:
    return Stepper(world.objective(), world.labels, world.candidates, TrainSettings(), CPU, "fp32")


SWITCHES: list[dict[str, Any]] = [
    {},
    {"as_released": True},
    {"negatives": False},
    {"scene_distill": False},
    {"gaze_distill": False},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3], [4, 5, 6, 7]], [[0], [1, 2, 3, 4, 5], [6, 7]]], ids=len)
def test_parts_add_up_to_the_loss_and_the_gradients_of_the_whole(
    make_world: Any, switches: dict[str, Any], parts: list[list[int]]
) -> None:
    """Every term, though one part has hardly a box or a rationale: no mean of means."""
    for seed in range(3):
        world = make_world(**STILL, **switches)
        batch = holed(world.batch(8, seed), seed)
        whole = stepper(world)
        expected = whole.step(batch)
        gradients = {n: p.grad.clone() for n, p in whole.objective.named_parameters() if p.grad is not None}
        again = stepper(make_world(**STILL, **switches))
        found = again.step_parts([pictures(batch, rows) for rows in parts])
        for name, term in expected.terms.items():
            assert found.terms[name].item() == pytest.approx(term.item(), rel=1e-5, abs=1e-6), name
        assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-5)
        assert gradients.keys() == {n for n, p in again.objective.named_parameters() if p.grad is not None}
        for name, parameter in again.objective.named_parameters():
            if name in gradients:
                assert parameter.grad is not None
                assert torch.allclose(parameter.grad, gradients[name], rtol=1e-3, atol=1e-6), name


def test_a_mean_of_means_would_be_another_loss(make_world: Any) -> None:
    """Else the test above could not fail."""
    world = make_world(**STILL)
    batch = holed(world.batch(8), 0)
    objective = world.objective()
    whole = objective(batch, world.labels, world.candidates).terms
    halves = [
        objective(pictures(batch, rows), world.labels, world.candidates).terms
        for rows in ([0, 1, 2, 3], [4, 5, 6, 7])
    ]
    for name in ("box_l1", "role_distill", "verb_distill", "noun"):
        assert abs((halves[0][name] + halves[1][name]).item() / 2 - whole[name].item()) > 1e-3, name


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_what_a_term_counts_is_what_its_mean_is_divided_by(make_world: Any, switches: dict[str, Any]) -> None:
    """Twice the batch counts twice of everything, and an empty mask counts nothing."""
    world = make_world(**STILL, **switches)
    objective, batch = world.objective(), holed(world.batch(8), 0)
    own = objective.counts(batch)
    assert own.shape == (len(TERMS),)
    assert torch.equal(objective.counts(pictures(batch, [*range(8)] * 2)), 2 * own)
    assert own[TERMS.index("verb")] == 8
    none = replace(batch, box_exists=torch.zeros_like(batch.box_exists))
    assert objective.counts(none)[TERMS.index("box_l1")] == 0
    assert torch.equal(shares(own, own) > 0, own > 0)


def test_parts_that_only_show_their_gradients_add_nothing(world: Any) -> None:
    taken = stepper(world)
    loss = taken.step_parts([world.batch(1)] * 2, counted=False)
    assert loss.total.item() == 0
    gradients = [p.grad for p in taken.objective.parameters() if p.grad is not None]
    assert gradients
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("count", "ranks", "parts"), [(64, 2, 2), (7, 3, 2), (1, 4, 1), (5, 1, 1), (3, 2, 5)]
)
def test_every_picture_of_a_batch_has_one_place(count: int, ranks: int, parts: int) -> None:
    rows = list(range(100, 100 + count))
    own = [own_parts(rows, rank, ranks, parts) for rank in range(ranks)]
    assert [row for rank in own for part in rank for row in part] == rows
    assert all(part for rank in own for part in rank)
    assert all(len(rank) <= parts for rank in own)
    sizes = [sum(map(len, rank)) for rank in own]
    assert max(sizes) - min(sizes) <= parts


class Two(Processes):
    """The second of two processes, whose other has the same half as it has."""

    rank, count = 1, 2
    whose = ", of rank 1 of 2"

    def __init__(self, other: str = "") -> None:
        self.other = other

    def sum_counts(self, counts: Tensor) -> Tensor:
        return 2 * counts

    def sum_loss(self, loss: Loss) -> Loss:
        nan = float("nan") if self.other else 1.0
        return Loss(2 * loss.total * nan, {name: 2 * term * nan for name, term in loss.terms.items()})

    def first_said(self, said: str) -> str:
        return self.other or said


def test_a_loss_that_is_no_number_is_told_with_the_process_it_happened_in(world: Any) -> None:
    settings = TrainSettings(clip=0.1)
    mine = Stepper(world.objective(), world.labels, world.candidates, settings, CPU, "fp32", Two())
    batch = world.batch(2)
    batch.vision[0, 0, 0] = float("nan")
    with pytest.raises(
        UserError, match=r"in the terms .*verb.*, in a batch of 2 with 0.jpg, 1.jpg, of rank 1 of 2; "
    ):
        mine.step_parts([world.batch(3), batch])
    theirs = Two("what rank 0 found")
    other = Stepper(world.objective(), world.labels, world.candidates, settings, CPU, "fp32", theirs)
    with pytest.raises(UserError, match=r"^what rank 0 found$"):
        other.step_parts([world.batch(2)])


def test_more_parts_than_pictures_are_refused() -> None:
    settings = TrainSettings(batch_size=4, accumulate=3)
    refuse_parts(settings, StudentSettings(), LossSettings(), 1)
    message = r"^train.batch_size 4 is to be shared by 2 processes in 3 parts each, 6 in all: set it to 6"
    with pytest.raises(UserError, match=message):
        refuse_parts(settings, StudentSettings(), LossSettings(), 2)


def test_pictures_that_are_compared_with_each_other_are_not_parted() -> None:
    losses = LossSettings(contrast="infonce")
    refuse_parts(TrainSettings(), StudentSettings(), losses, 1)
    refuse_parts(TrainSettings(accumulate=2), StudentSettings(negatives=False), losses, 1)
    with pytest.raises(
        UserError, match=r"'infonce' compares .* so in 2 parts .* losses\.contrast to 'hinge'$"
    ):
        refuse_parts(TrainSettings(accumulate=2), StudentSettings(), losses, 1)

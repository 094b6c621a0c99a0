"""A step moves the weights where everything is finite, and nothing where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cache.errors import UserError
from stages.student.settings import TrainSettings
from stages.student.training import precision as precisions
from stages.student.training.precision import Precision, choose_precision, computing
from stages.student.training.step import Stepper
from stages.student.training.training_log import STEPS_AT_ONCE, TrainingLog

CPU = torch.device("cpu")


def stepper(world: Any, precision: Precision = "fp32", **settings: float) -> Stepper:
    options = TrainSettings.model_validate(settings)
    return Stepper(world.objective(), world.labels, world.candidates, options, CPU, precision)


def weights(world: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in world.objective().parameters()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_bring_the_loss_down_in_both_precisions(world: Any, precision: Precision) -> None:
    taken, batch = stepper(world, precision, lr=3e-3, clip=0), world.batch(16)
    losses = [taken.step(batch).total.item() for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    assert {p.dtype for p in world.objective().parameters()} == {torch.float32}


def test_bf16_gives_nearly_the_loss_of_fp32(world: Any) -> None:
    world.student.eval()
    batch, objective = world.batch(8), world.objective()
    fp32 = objective(batch, world.labels, world.candidates)
    with computing(CPU, "bf16"):
        bf16 = objective(batch, world.labels, world.candidates)
    assert bf16.total.dtype == torch.float32
    assert bf16.total.item() != fp32.total.item()
    assert bf16.total.item() == pytest.approx(fp32.total.item(), rel=0.02)
    with computing(CPU, "bf16"):
        seen = world.student(batch.vision, world.labels)
        situation = world.student.situate_verbs(seen.memory, world.labels, batch.verb)
    for ranked in (seen.verb_logits, situation.noun_logits, situation.open_logits, situation.boxes):
        assert ranked.dtype == torch.float32


def test_an_infinite_token_stops_with_the_batch_and_leaves_the_weights(world: Any) -> None:
    batch = world.batch(3)
    batch.vision[1, 0, 0] = float("nan")
    taken, before = stepper(world, "bf16"), weights(world)
    with pytest.raises(UserError) as refused:
        taken.step(batch)
    said = str(refused.value)
    assert "the loss is nan in the terms verb" in said
    assert "in a batch of 3 with 0.jpg, 1.jpg, 2.jpg; the weights are those before it" in said
    assert "Set train.lr lower, train.clip above 0, train.precision to fp32, and check the banks" in said
    assert torch.equal(weights(world), before)


def test_an_infinite_gradient_of_a_finite_loss_is_named(world: Any) -> None:
    world.student.noun_head[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    taken, before = stepper(world), weights(world)
    with pytest.raises(
        UserError, match=r"loss is finite, but not the gradient of student.noun_head.0.weight"
    ):
        taken.step(world.batch(3))
    assert torch.equal(weights(world), before)


def test_a_batch_of_one_without_box_or_rationale_is_a_step(world: Any) -> None:
    batch = world.batch(1)
    none = torch.zeros_like(batch.box_exists)
    teacher = replace(batch.teacher, role_box_valid=none, text_mask=torch.zeros_like(batch.teacher.text_mask))
    batch = replace(batch, box_exists=none, teacher=teacher)
    assert torch.isfinite(stepper(world, "bf16").step(batch).total)


def test_pictures_without_a_role_or_a_filled_one_are_a_step(world: Any) -> None:
    """The verb is learned from all of them; a role nobody filled is the noun `blank`."""
    batch = world.batch(3)
    mask = batch.role_mask.clone()
    mask[0] = False
    batch = replace(batch, role_mask=mask, nouns=torch.zeros_like(batch.nouns))
    loss = stepper(world).step(batch)
    assert torch.isfinite(loss.total)
    assert loss.terms["noun"] > 0
    nothing = stepper(world).step(replace(batch, role_mask=torch.zeros_like(mask)))
    assert nothing.terms["verb"] > 0
    for name in ("noun", "noun_open", "box_l1", "box_exists", "role_distill", "noun_anchor"):
        assert nothing.terms[name] == 0, name


@pytest.mark.parametrize(("gain", "expected"), [(1.0, "fp32"), (0.2, "fp32"), (1.5, "bf16")])
def test_bf16_is_taken_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, gain: float, expected: str
) -> None:
    """A device whose products take so long, by the clock of the probe."""
    monkeypatch.setattr(precisions, "_seconds", lambda side, _: 1.0 if side.dtype == torch.bfloat16 else gain)
    assert choose_precision(CPU) == expected


def test_the_probe_measures_this_device() -> None:
    assert 0.01 < precisions.bf16_gain(CPU) < 100


def test_the_log_has_every_step_in_order(world: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loss = world.objective()(world.batch(2), world.labels, world.candidates)
    log = TrainingLog(tmp_path, 0)
    for step in range(1, STEPS_AT_ONCE + 3):
        log.step(replace(loss, total=loss.total * 0 + step), step)
    log.epoch(1, STEPS_AT_ONCE + 2, 12.5)
    log.step(loss, STEPS_AT_ONCE + 3)
    log.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    total = read.Scalars("loss/total")
    assert [event.step for event in total] == list(range(1, STEPS_AT_ONCE + 4))
    assert [event.value for event in total[:-1]] == list(range(1, STEPS_AT_ONCE + 3))
    assert read.Scalars("dev/selected")[0].value == 12.5
    assert {f"loss/{name}" for name in loss.terms} <= set(read.Tags()["scalars"])

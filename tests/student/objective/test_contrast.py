"""InfoNCE and its candidates, by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.student.objective.contrast import info_nce, instance_contrast, pool_rationales, scene_contrast
from stages.student.settings import LossSettings

RIGHT, UP = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def entropy(right: float, wrong: list[float], temperature: float) -> float:
    """-log of the share of `right` among the exponentials."""
    powers = [math.exp(cosine / temperature) for cosine in (right, *wrong)]
    return -math.log(powers[0] / sum(powers))


def test_info_nce_by_hand() -> None:
    aligned, positive = torch.stack([RIGHT, RIGHT]), torch.stack([RIGHT, UP])
    others = torch.stack([torch.stack([UP, RIGHT]), torch.stack([-RIGHT, RIGHT])])
    allowed = torch.tensor([[True, False], [True, True]])
    found = info_nce(aligned, positive, others, allowed, torch.tensor([True, True]), 0.5)
    by_hand = (entropy(1, [0], 0.5) + entropy(0, [-1, 1], 0.5)) / 2
    assert found.item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("what", ["masked", "nothing to compare with"])
def test_where_nothing_counts_it_is_zero_with_zero_gradient(what: str) -> None:
    aligned = torch.rand(2, 4, requires_grad=True)
    allowed, mask = torch.full((2, 3), what == "masked"), torch.full((2,), what != "masked")
    loss = info_nce(aligned, torch.rand(2, 4), torch.rand(2, 3, 4), allowed, mask, 0.1)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, aligned)
    assert gradient.tolist() == [[0] * 4] * 2


def mined_batch(world: Any, pictures: int, count: int) -> Any:
    batch = world.batch(pictures)
    random = torch.Generator().manual_seed(5)
    mined = torch.randn(pictures, count, 2, 3, 14, generator=random)
    mask = torch.ones(pictures, count, 2, 3, dtype=torch.bool)
    return replace(batch, teacher=replace(batch.teacher, mined=mined, mined_mask=mask))


def pooled(world: Any, tokens: Tensor) -> Tensor:
    return normalize(world.alignment.text(tokens).mean(dim=0), dim=-1)


def test_scene_is_compared_with_its_negative_other_verbs_in_the_batch_and_the_mined(world: Any) -> None:
    batch = mined_batch(world, 4, 2)
    batch = replace(batch, verb=torch.tensor([0, 1, 0, 2]))
    told = batch.teacher.mined_mask.clone()
    told[1, 1] = False  # a mined picture without rationales
    batch = replace(batch, teacher=replace(batch.teacher, mined_mask=told))
    aligned = world.alignment(batch.teacher)
    found = scene_contrast(aligned, pool_rationales(world.alignment, batch.teacher), batch.verb, 0.1)
    text, mined, expected = batch.teacher.text, batch.teacher.mined, []
    for i in range(4):
        others = [text[i, 1], *(text[j, 0] for j in range(4) if batch.verb[j] != batch.verb[i])]
        others += [mined[i, m, 0] for m in range(2) if told[i, m, 0].any()]
        cosines = [(aligned.scene[i] @ pooled(world, tokens)).item() for tokens in (text[i, 0], *others)]
        expected.append(entropy(cosines[0], cosines[1:], 0.1))
    assert found.item() == pytest.approx(sum(expected) / 4, abs=1e-5)


def test_instances_are_compared_role_by_role(world: Any) -> None:
    batch = mined_batch(world, 3, 1)
    batch = replace(batch, verb=torch.tensor([1, 1, 2]), role_mask=world.texts.role_mask[[1, 1, 2]])
    valid = batch.role_mask.clone()
    valid[0, 0] = False  # a role without a box
    batch = replace(batch, teacher=replace(batch.teacher, role_box_valid=valid))
    aligned = world.alignment(batch.teacher)
    rationales = pool_rationales(world.alignment, batch.teacher)
    found = instance_contrast(aligned, rationales, batch.verb, batch.role_mask, 0.1)
    text, mined, expected = batch.teacher.text, batch.teacher.mined, []
    for i, role in valid.nonzero().tolist():
        others = [
            text[i, 3],
            *(text[j, 2] for j in range(3) if batch.verb[j] != batch.verb[i]),
            mined[i, 0, 1],
        ]
        vector = aligned.instance[i, role]
        cosines = [(vector @ pooled(world, tokens)).item() for tokens in (text[i, 2], *others)]
        expected.append(entropy(cosines[0], cosines[1:], 0.1))
    assert found.item() == pytest.approx(sum(expected) / len(expected), abs=1e-5)


def test_infonce_stands_in_the_hinge_s_place_and_trains_prompts_but_not_the_student(world: Any) -> None:
    weights = {name: 0.0 for name, value in LossSettings() if isinstance(value, float)}
    weights |= {"temperature": 0.1, "verb_negative": 1.0, "noun_negative": 1.0}
    objective = world.objective(LossSettings.model_validate({**weights, "contrast": "infonce"}))
    loss = objective(mined_batch(world, 6, 1), world.labels, world.candidates)
    assert loss.terms["verb_negative"] > 0
    assert loss.terms["noun_negative"] > 0
    loss.total.backward()
    moved = {n for n, p in objective.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"alignment.scene_prompt.edges", "alignment.instance_prompt.map"} <= moved
    assert not [name for name in moved if name.startswith("student.")]


def test_tokens_may_come_in_the_bank_s_number_format(world: Any) -> None:
    teacher = mined_batch(world, 3, 1).teacher
    half = replace(teacher, text=teacher.text.bfloat16(), mined=teacher.mined.bfloat16())
    whole, rounded = (pool_rationales(world.alignment, each) for each in (teacher, half))
    torch.testing.assert_close(whole.own, rounded.own, atol=0.05, rtol=0)
    torch.testing.assert_close(whole.mined, rounded.mined, atol=0.05, rtol=0)


def test_negatives_off_takes_infonce_away_too(make_world: Callable[..., Any]) -> None:
    world = make_world(negatives=False)
    objective = world.objective(LossSettings(contrast="infonce"))
    loss = objective(mined_batch(world, 6, 1), world.labels, world.candidates)
    assert loss.terms["verb_negative"].item() == loss.terms["noun_negative"].item() == 0


def test_without_rationales_nothing_is_not_a_number(world: Any) -> None:
    batch = world.batch(2)
    nothing = torch.zeros_like(batch.teacher.text_mask)
    batch = replace(batch, teacher=replace(batch.teacher, text_mask=nothing))
    objective = world.objective(LossSettings(contrast="infonce"))
    loss = objective(batch, world.labels, world.candidates)
    loss.total.backward()
    assert loss.terms["verb_negative"].item() == loss.terms["noun_negative"].item() == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in objective.parameters())

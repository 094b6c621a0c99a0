from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from cache.errors import UserError
from stages.student.objective.objective import TEACHER_TERMS, Objective
from stages.student.reading.batch import Batch
from stages.student.settings import LossSettings

ANNOTATION = ("verb", "noun", "noun_open", "box_l1", "box_giou", "box_exists")


def only(*names: str) -> LossSettings:
    """Weight 1 for these terms and 0 for all others."""
    off = dict.fromkeys((*ANNOTATION, *TEACHER_TERMS[:4], "anchor"), 0.0)
    return LossSettings.model_validate(off | dict.fromkeys(names, 1.0))


def trained(module: nn.Module) -> set[str]:
    """Names of the parameters with a gradient that is not zero."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def backward(objective: Objective, world: Any, batch: Batch) -> None:
    objective(batch, world.labels, world.candidates).total.backward()


def test_total_is_the_weighted_sum_of_the_named_terms(world: Any) -> None:
    world.student.eval()
    loss = world.objective()(world.batch(4), world.labels, world.candidates)
    assert set(loss.terms) == {*ANNOTATION, *TEACHER_TERMS}
    weights = LossSettings().model_dump()
    weights |= {"verb_anchor": weights["anchor"], "noun_anchor": weights["anchor"]}
    by_hand = sum(weights[name] * term for name, term in loss.terms.items())
    torch.testing.assert_close(loss.total, by_hand)
    assert all(term > 0 for name, term in loss.terms.items() if "negative" not in name)
    assert not any(term.requires_grad for term in loss.terms.values())


def test_every_parameter_of_student_and_alignment_trains(world: Any) -> None:
    weights = {name: 0.5 for name, value in LossSettings() if isinstance(value, float)}
    objective = world.objective(LossSettings.model_validate(weights))
    backward(objective, world, world.batch(8))
    assert trained(objective) == {name for name, _ in objective.named_parameters()}


@pytest.mark.parametrize("term", ["verb_distill", "role_distill"])
def test_distillation_moves_the_student_alone(world: Any, term: str) -> None:
    objective = world.objective(only(term))
    backward(objective, world, world.batch(4))
    assert trained(world.student)
    assert not trained(world.alignment)


def test_anchor_moves_the_alignment_and_both_prompts_alone(world: Any) -> None:
    objective = world.objective(only("anchor"))
    backward(objective, world, world.batch(4))
    assert not trained(world.student)
    assert {"scene_prompt.edges", "instance_prompt.map"} <= trained(world.alignment)


@pytest.mark.parametrize(
    ("term", "prompt", "other"),
    [
        ("verb_negative", "scene_prompt.edges", "instance_prompt.map"),
        ("noun_negative", "instance_prompt.map", "scene_prompt.edges"),
    ],
)
def test_negative_moves_the_alignment_and_its_own_prompt(
    world: Any, term: str, prompt: str, other: str
) -> None:
    batch = world.batch(4)
    text = batch.teacher.text.abs()  # positives and negatives alike, so that cosines are positive
    objective = world.objective(only(term))
    backward(objective, world, replace(batch, teacher=replace(batch.teacher, text=text)))
    assert not trained(world.student)
    assert prompt in trained(world.alignment)
    assert other not in trained(world.alignment)


def test_annotations_move_the_student_alone(world: Any) -> None:
    backward(world.objective(only(*ANNOTATION)), world, world.batch(4))
    assert not trained(world.alignment)


def test_without_distillation_no_teacher_is_needed_and_its_terms_are_zero(world: Any) -> None:
    objective = world.objective(distill=False)
    loss = objective(replace(world.batch(4), teacher=None), world.labels, world.candidates)
    assert [loss.terms[name].item() for name in TEACHER_TERMS] == [0] * 6
    assert not [name for name, _ in objective.named_parameters() if name.startswith("alignment")]
    loss.total.backward()
    assert trained(world.student)


def test_distillation_without_teacher_targets_is_our_own_fault(world: Any) -> None:
    with pytest.raises(AssertionError, match="distillation is on, but the batch brings no teacher targets"):
        world.objective()(replace(world.batch(2), teacher=None), world.labels, world.candidates)


def test_negatives_off_gives_no_negative_term(make_world: Callable[..., Any]) -> None:
    world = make_world(negatives=False)
    batch = world.batch(4)
    teacher = replace(batch.teacher, text=batch.teacher.text.abs())
    loss = world.objective()(replace(batch, teacher=teacher), world.labels, world.candidates)
    assert loss.terms["verb_negative"].item() == loss.terms["noun_negative"].item() == 0
    assert loss.terms["verb_distill"].item() > 0


def test_held_out_verb_in_training_is_refused(world: Any) -> None:
    batch = world.batch(3)
    verb = batch.verb.clone()
    verb[1] = 5
    with pytest.raises(UserError) as refused:
        world.objective()(replace(batch, verb=verb), world.labels, world.candidates)
    assert "picture '1.jpg' has verb number 5, which is none of the 5 training verbs" in str(refused.value)
    assert "take the picture out of the training split" in str(refused.value)


def test_held_out_verb_s_text_changes_nothing_in_training(world: Any) -> None:
    world.student.eval()
    verb = world.labels.verb.clone()
    verb[5] = torch.nn.functional.normalize(torch.randn(16), dim=-1)
    batch, objective = world.batch(4), world.objective()
    before = objective(batch, world.labels, world.candidates)
    after = objective(batch, replace(world.labels, verb=verb), world.candidates)
    assert torch.equal(before.total, after.total)


def stripped(batch: Batch, what: str) -> Batch:
    teacher = batch.teacher
    assert teacher is not None
    no_boxes, no_text = torch.zeros_like(batch.box_exists), torch.zeros_like(teacher.text_mask)
    if what in ("boxes", "both"):
        batch = replace(batch, box_exists=no_boxes, boxes=torch.zeros_like(batch.boxes))
        teacher = replace(teacher, role_box_valid=no_boxes, role_boxes=torch.zeros_like(teacher.role_boxes))
    if what in ("rationales", "both"):
        teacher = replace(teacher, text_mask=no_text, text=torch.zeros_like(teacher.text))
    return replace(batch, teacher=teacher)


@pytest.mark.parametrize("what", ["boxes", "rationales", "both"])
@pytest.mark.parametrize("pictures", [1, 5])
@pytest.mark.parametrize(("label_dim", "class_tokens"), [(16, 1), (9, 0), (40, 1)])
def test_missing_parts_give_finite_gradients(
    make_world: Callable[..., Any], what: str, pictures: int, label_dim: int, class_tokens: int
) -> None:
    world = make_world(label_dim=label_dim, class_tokens=class_tokens)
    objective = world.objective()
    loss = objective(stripped(world.batch(pictures), what), world.labels, world.candidates)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    gone = {"boxes": ("box_l1", "box_giou", "role_distill", "noun_anchor"), "rationales": TEACHER_TERMS}
    for name in gone.get(what, (*gone["boxes"], *gone["rationales"])):
        assert loss.terms[name].item() == 0, name
    for name, parameter in objective.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_forty_steps_learn_the_verbs_and_bring_every_kind_of_term_down(world: Any) -> None:
    objective, batch = world.objective(), world.batch(24)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    history = []
    for _ in range(40):
        loss = objective(batch, world.labels, world.candidates)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        history.append({"total": loss.total.item(), **{k: v.item() for k, v in loss.terms.items()}})
    first, last = history[0], history[-1]
    assert last["total"] < 0.6 * first["total"]
    for name in ("verb", "noun", "box_giou", "box_exists", "verb_distill", "verb_anchor"):
        assert last[name] < first[name], name
    world.student.eval()
    guesses = world.student(batch.vision, world.labels).verb_logits.argmax(dim=1)
    assert (guesses == batch.verb).float().mean() > 0.9

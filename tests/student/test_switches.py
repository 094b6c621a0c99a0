"""Each switch of the method takes away the gradients of its own terms and of nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.student.network.alignment import NEGATIVE_GAZE, NEGATIVE_GLIMPSE
from stages.student.objective.objective import Objective
from stages.student.settings import LossSettings
from stages.student.training.precision import computing

SCENE = ("verb_distill", "verb_negative", "verb_anchor")
GAZE = ("role_distill", "noun_negative", "noun_anchor")


class Weighed(Objective):
    """The objective with some terms left out of the sum, which is what a switch must amount to."""

    without: tuple[str, ...] = ()

    def _weight(self, term: str) -> float:
        return 0.0 if term in self.without else super()._weight(term)


def batch_of(world: Any) -> Any:
    """Positives and negatives alike, so that every cosine is positive and every term has a gradient."""
    batch = world.batch(6)
    return replace(batch, teacher=replace(batch.teacher, text=batch.teacher.text.abs()))


def gradients(
    world: Any, without: tuple[str, ...] = (), losses: LossSettings | None = None
) -> dict[str, Tensor]:
    world.student.eval()
    objective = Weighed(world.student, world.alignment, losses or LossSettings())
    objective.without = without
    objective(batch_of(world), world.labels, world.candidates).total.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in objective.named_parameters()
    }


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.allclose(a[name], b[name], atol=1e-6)}


@pytest.mark.parametrize(
    ("switch", "terms"),
    [("scene_distill", SCENE), ("gaze_distill", GAZE), ("negatives", ("verb_negative", "noun_negative"))],
)
def test_switch_takes_away_its_own_terms_and_no_other(
    make_world: Callable[..., Any], switch: str, terms: tuple[str, ...]
) -> None:
    off = gradients(make_world(**{switch: False}))
    assert not differing(off, gradients(make_world(), without=terms))
    for term in terms:
        others = tuple(other for other in terms if other != term)
        assert differing(off, gradients(make_world(), without=others)), f"{term} has no gradient to take away"


def test_scene_and_gaze_leave_each_other_s_prompt_and_the_student_s_other_half_alone(
    make_world: Callable[..., Any],
) -> None:
    both, no_scene, no_gaze = (
        gradients(make_world(**settings))
        for settings in ({}, {"scene_distill": False}, {"gaze_distill": False})
    )
    scene, instance = "alignment.scene_prompt.edges", "alignment.instance_prompt.map"
    assert not no_scene[scene].any()
    assert not no_gaze[instance].any()
    assert instance not in differing(both, no_scene)
    assert scene not in differing(both, no_gaze)
    changed = {name for name in differing(both, no_scene) if name.startswith("student.")}
    assert changed == {"student.verb_projection.weight", *(f"student.input.{n}" for n in INPUT)}
    changed = {name.split(".")[1] for name in differing(both, no_gaze) if name.startswith("student.")}
    assert "verb_projection" not in changed
    assert not changed & {"noun_head", "box_head", "exists_head"}
    assert {"noun_projection", "role_query"} <= changed


INPUT = ("norm.weight", "norm.bias", "linear.weight", "linear.bias")


def test_prompts_off_is_prompts_of_zero_and_moves_nothing_of_the_student_s_other_terms(
    make_world: Callable[..., Any],
) -> None:
    plain, prompted = make_world(prompts=False), make_world()
    with torch.no_grad():
        prompted.alignment.scene_prompt.edges.zero_()
        prompted.alignment.instance_prompt.map.zero_()
    for name, tensor in plain.alignment.state_dict().items():
        prompted.alignment.state_dict()[name].copy_(tensor)
    off, zero = gradients(plain), gradients(prompted)
    prompts = {"alignment.scene_prompt.edges", "alignment.instance_prompt.map"}
    assert all(zero.pop(name).any() for name in prompts)
    assert not differing(off, zero)


def test_text_queries_off_changes_the_queries_alone(make_world: Callable[..., Any]) -> None:
    """Given the same queries, everything but the queries gets the same gradient."""
    text, learned = make_world(), make_world(text_queries=False)
    learned.student.load_state_dict(text.student.state_dict(), strict=False)
    learned.alignment.load_state_dict(text.alignment.state_dict())
    text.student.role_query.of_verbs = learned.student.role_query.of_verbs
    by_text, by_number = gradients(text), gradients(learned)
    ours = {name for name in by_text if ".role_query." in name}
    theirs = {name for name in by_number if ".role_query." in name}
    assert theirs == {"student.role_query.verb.weight", "student.role_query.role.weight"}
    assert all(by_number[name].any() for name in theirs)
    assert not any(by_text[name].any() for name in ours)
    shared = by_text.keys() - ours
    assert not differing({n: by_text[n] for n in shared}, {n: by_number[n] for n in shared})


def test_distill_off_is_both_halves_off_for_the_student(make_world: Callable[..., Any]) -> None:
    world = make_world()
    world.student.eval()
    objective = Objective(world.student, None, LossSettings())
    objective(replace(batch_of(world), teacher=None), world.labels, world.candidates).total.backward()
    alone = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    off = gradients(make_world(scene_distill=False, gaze_distill=False))
    assert not differing(alone, {name: off[name] for name in alone})


def test_learned_scale_off_keeps_both_scales_and_changes_no_other_gradient(
    make_world: Callable[..., Any],
) -> None:
    fixed, learned = gradients(make_world(learned_scale=False)), gradients(make_world())
    scales = {"student.verb_cosine.log_scale", "student.noun_cosine.log_scale"}
    assert not any(fixed[name].any() for name in scales)
    assert differing(fixed, learned) == scales


@pytest.mark.parametrize("kind", [NEGATIVE_GLIMPSE, NEGATIVE_GAZE])
def test_negative_text_matters_only_where_negatives_are_on(make_world: Callable[..., Any], kind: int) -> None:
    def total(**settings: bool) -> list[float]:
        world = make_world(**settings)
        world.student.eval()
        batch = batch_of(world)
        text = batch.teacher.text.clone()
        text[:, kind] = text[:, kind].flip(0) + torch.arange(14.0)
        other = replace(batch, teacher=replace(batch.teacher, text=text))
        objective = world.objective()
        return [objective(b, world.labels, world.candidates).total.item() for b in (batch, other)]

    on, off = total(), total(negatives=False)
    assert on[0] != on[1]
    assert off[0] == off[1]


@pytest.mark.parametrize(
    ("switches", "losses"),
    [
        ({"as_released": True}, {}),
        ({"text_queries": False, "learned_scale": False, "prompts": False}, {}),
        ({"scene_distill": False}, {}),
        ({}, {"contrast": "infonce"}),
    ],
)
def test_every_switch_gives_nearly_the_same_terms_in_bf16(
    make_world: Callable[..., Any], switches: dict[str, bool], losses: dict[str, str]
) -> None:
    world = make_world(**switches)
    world.student.eval()
    objective, batch = world.objective(LossSettings.model_validate(losses)), batch_of(world)
    batch = replace(batch, vision=batch.vision.bfloat16())  # as a bank may hold it
    batch = replace(batch, teacher=replace(batch.teacher, text=batch.teacher.text.bfloat16()))
    fp32 = objective(batch, world.labels, world.candidates)
    with computing(torch.device("cpu"), "bf16"):
        bf16 = objective(batch, world.labels, world.candidates)
    assert bf16.total.item() != fp32.total.item()
    for name, term in fp32.terms.items():
        assert bf16.terms[name].dtype == torch.float32, name
        assert bf16.terms[name].item() == pytest.approx(term.item(), rel=0.05, abs=0.01), name
    bf16.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())

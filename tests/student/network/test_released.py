"""`as_released` against the released code's arithmetic, once more with loops over numpy arrays."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cache.errors import UserError
from stages.student.exporting.onnx_graphs import write_student_graphs
from stages.student.settings import LossSettings

Array = Any  # a numpy array of float64

GLIMPSE, NEGATIVE_GLIMPSE, GAZE, NEGATIVE_GAZE = range(4)


@pytest.fixture
def world(make_world: Callable[..., Any]) -> Any:
    """In evaluation mode, so that no dropout is between the two computations."""
    made = make_world(as_released=True)
    made.student.eval()
    return made


def numbers(module: nn.Module) -> dict[str, Array]:
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


def unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def project(weights: dict[str, Array], name: str, token: Array) -> Array:
    """LayerNorm, then the linear map."""
    normal = (token - token.mean()) / np.sqrt(token.var() + 1e-5)
    normal = normal * weights[f"{name}.norm.weight"] + weights[f"{name}.norm.bias"]
    return weights[f"{name}.linear.weight"] @ normal + weights[f"{name}.linear.bias"]


def attend(weights: dict[str, Array], query: Array, tokens: list[Array]) -> Array:
    """One head: the class token asks."""
    into, shift = weights["attention.in_proj_weight"], weights["attention.in_proj_bias"]
    wq, wk, wv = np.split(into, 3)
    bq, bk, bv = np.split(shift, 3)
    asking = wq @ query + bq
    scores = np.array([asking @ (wk @ token + bk) for token in tokens]) / np.sqrt(len(query))
    values = [wv @ token + bv for token in tokens]
    answer = sum(share * value for share, value in zip(softmax(scores), values, strict=True))
    return weights["attention.out_proj.weight"] @ answer + weights["attention.out_proj.bias"]


def test_alignment_by_a_loop(world: Any) -> None:
    teacher = world.batch(3).teacher
    mask = teacher.text_mask.clone()
    mask[..., 2] = False  # a padded token: not attended to, but part of the negative's mean
    teacher = replace(teacher, text_mask=mask)
    aligned = world.alignment(teacher)
    weights = numbers(world.alignment)
    for i in range(3):
        query = project(weights, "vision", teacher.vision[i, 0].double().numpy())
        text = [
            [project(weights, "text", token) for token in kind] for kind in teacher.text[i].double().numpy()
        ]
        by_hand = {
            "scene": unit(attend(weights, query, text[GLIMPSE][:2])),
            "scene_negative": unit(np.mean(text[NEGATIVE_GLIMPSE], axis=0)),
            "instance": unit(attend(weights, query, text[GAZE][:2]))[None],
            "instance_negative": unit(np.mean(text[NEGATIVE_GAZE], axis=0)),
        }
        for name, expected in by_hand.items():
            found = getattr(aligned, name)[i].detach().numpy()
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)


def test_patches_and_boxes_reach_no_target(world: Any) -> None:
    teacher = world.batch(2).teacher
    vision = teacher.vision.clone()
    vision[:, 1:] = 0
    moved = replace(teacher, vision=vision, role_boxes=torch.rand_like(teacher.role_boxes))
    assert torch.equal(world.alignment(teacher).scene, world.alignment(moved).scene)
    assert torch.equal(world.alignment(teacher).instance, world.alignment(moved).instance)
    assert not [name for name, _ in world.alignment.named_parameters() if "prompt" in name]


def test_verb_vector_and_logits_by_hand(world: Any) -> None:
    seen = world.student(world.batch(2).vision, world.labels)
    weights = numbers(world.student)
    for i in range(2):
        vector = weights["verb_projection.weight"] @ unit(seen.memory[i, 0].detach().double().numpy())
        np.testing.assert_allclose(seen.verb[i].detach().numpy(), vector, atol=1e-5)
        logits = world.labels.verb.double().numpy() @ vector  # no scale
        np.testing.assert_allclose(seen.verb_logits[i].detach().numpy(), logits, atol=1e-5)


def test_projection_starts_with_coordinates_of_size_one(make_world: Callable[..., Any]) -> None:
    wide = make_world(as_released=True, dim=128).student.verb_projection.weight
    assert wide.std().item() == pytest.approx(1, abs=0.02)


def test_queries_are_learned_vectors_of_verb_and_role_added(world: Any) -> None:
    queries = world.student.role_query
    found = queries.of_verbs(world.labels, torch.tensor([3, 5]))
    verb, role = queries.verb.weight, queries.role.weight
    torch.testing.assert_close(found[0, :2], verb[3] + role[[1, 3]])
    torch.testing.assert_close(found[1], verb[5] + role[[0, 1, 2, 3, 4, 0]])


def test_verb_without_pictures_has_an_untrained_vector(world: Any) -> None:
    objective = world.objective()
    objective(world.batch(24), world.labels, world.candidates).total.backward()
    moved = world.student.role_query.verb.weight.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [True] * 5 + [False]


def test_a_student_of_learned_queries_knows_no_other_vocabulary(world: Any) -> None:
    memory = torch.randn(1, 17, 16)
    labels = world.labels
    texts = labels.verb[:1], labels.role[:1], labels.role_mask[:1], labels.noun
    message = (
        "knows its 6 verbs by learned numbers, so it cannot be asked about verbs and roles given by text"
    )
    with pytest.raises(UserError, match=message):
        world.student.situate(memory, *texts)
    other = replace(labels, role_mask=~labels.role_mask)
    with pytest.raises(UserError, match=r"train one with student\.text_queries true"):
        world.student.situate_verbs(memory, other, torch.tensor([0]))


def test_a_student_of_learned_queries_is_not_exported(world: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="so it cannot be exported, for the graphs are asked by texts; train one"
    ):
        write_student_graphs(world.student, 16, 12, tmp_path)
    assert not list(tmp_path.iterdir())


def smoothed(logits: Array, target: int, smoothing: float) -> float:
    logs = np.log(softmax(logits))
    return float(-(1 - smoothing) * logs[target] - smoothing * logs.mean())


def giou(a: Array, b: Array) -> float:
    """Of two boxes cx cy w h."""
    a, b = (np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]) for box in (a, b))
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    hull = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    return float(shared / union - (hull - union) / hull)


def mean(values: Iterator[float]) -> float:
    """Of none: 0."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def test_every_term_by_a_loop_over_pictures(world: Any) -> None:
    batch = world.batch(5)
    exists = batch.box_exists.clone()
    exists[0] = False  # a picture without boxes
    batch = replace(batch, box_exists=exists)
    student, labels = world.student, world.labels
    loss = world.objective()(batch, labels, world.candidates)
    seen = student(batch.vision, labels)
    situation = student.situate_verbs(seen.memory, labels, batch.verb)
    aligned = world.alignment(batch.teacher)

    def array(tensor: torch.Tensor) -> Array:
        return tensor.detach().double().numpy()

    pictures = range(5)
    roles = [np.flatnonzero(batch.role_mask[i]) for i in pictures]
    boxes = [np.flatnonzero(exists[i]) for i in pictures]
    nouns = batch.nouns.numpy()

    def noun_term(logits: Array) -> float:
        return mean(
            mean(sum(smoothed(logits[i, r], n, 0.2) for n in nouns[i, r]) for r in roles[i]) for i in pictures
        )

    predicted, true = array(situation.boxes), array(batch.boxes)
    likely = 1 / (1 + np.exp(-array(situation.box_logits)))
    verbs, scene, gaze = array(seen.verb), array(aligned.scene), array(aligned.instance)[:, 0]
    against = array(aligned.scene_negative), array(aligned.instance_negative)
    by_hand = {
        "verb": mean(smoothed(array(seen.verb_logits)[i, :5], int(batch.verb[i]), 0.3) for i in pictures),
        "noun": noun_term(array(situation.noun_logits)),
        "noun_open": noun_term(array(situation.open_logits)),
        "box_l1": mean(
            mean(float(np.abs(predicted[i, r] - true[i, r]).sum()) for r in boxes[i])
            for i in pictures
            if len(boxes[i])
        ),
        "box_giou": mean(
            mean(1 - giou(predicted[i, r], true[i, r]) for r in boxes[i]) for i in pictures if len(boxes[i])
        ),
        "box_exists": mean(
            mean(float(-np.log(likely[i, r] if exists[i, r] else 1 - likely[i, r])) for r in roles[i])
            for i in pictures
        ),
        "verb_distill": mean(float(np.abs(verbs[i] - scene[i]).mean()) for i in pictures),
        "verb_negative": mean(max(0.0, float(scene[i] @ against[0][i])) for i in pictures),
        "noun_negative": mean(max(0.0, float(gaze[i] @ against[1][i])) for i in pictures),
        "role_distill": 0.0,
        "verb_anchor": 0.0,
        "noun_anchor": 0.0,
    }
    assert set(loss.terms) == set(by_hand)
    for name, expected in by_hand.items():
        assert loss.terms[name].item() == pytest.approx(expected, abs=1e-5), name
    weights = LossSettings().model_dump() | {"verb_anchor": 0, "noun_anchor": 0}
    assert loss.total.item() == pytest.approx(sum(weights[n] * x for n, x in by_hand.items()), abs=1e-4)


def test_the_student_s_error_shapes_the_target_and_the_gaze_never_reaches_the_student(world: Any) -> None:
    def only(name: str) -> LossSettings:
        off = {key: 0.0 for key, value in LossSettings() if isinstance(value, float) and key != "temperature"}
        return LossSettings.model_validate({**off, name: 1.0})

    def moved(name: str) -> set[str]:
        world.student.zero_grad()
        world.alignment.zero_grad()
        batch = world.batch(4)
        text = batch.teacher.text.abs()  # positives and negatives alike, so that cosines are positive
        batch = replace(batch, teacher=replace(batch.teacher, text=text))
        objective = world.objective(only(name))
        objective(batch, world.labels, world.candidates).total.backward()
        parts = objective.named_parameters()
        return {n.split(".")[0] for n, p in parts if p.grad is not None and p.grad.abs().sum() > 0}

    assert moved("verb_distill") == {"student", "alignment"}
    assert moved("noun_negative") == {"alignment"}
    assert not moved("role_distill")


def test_without_rationales_and_boxes_nothing_is_not_a_number(world: Any) -> None:
    batch = world.batch(2)
    no_boxes = torch.zeros_like(batch.box_exists)
    teacher = replace(batch.teacher, text_mask=torch.zeros_like(batch.teacher.text_mask))
    objective = world.objective()
    loss = objective(replace(batch, box_exists=no_boxes, teacher=teacher), world.labels, world.candidates)
    loss.total.backward()
    for name in ("verb_distill", "verb_negative", "noun_negative", "box_l1", "box_giou"):
        assert loss.terms[name].item() == 0, name
    for name, parameter in objective.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name

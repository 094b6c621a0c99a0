"""Golden numbers are worked out by hand in the comments."""

import math

import pytest
import torch
from torch import Tensor

from stages.student.objective import losses

ALL = torch.tensor([True])
NONE = torch.tensor([False])


def test_masked_mean_ignores_what_is_masked_even_infinities() -> None:
    values = torch.tensor([1.0, 3.0, float("inf")])
    assert losses.masked_mean(values, torch.tensor([True, True, False])).item() == 2


def test_one_annotators_cross_entropy_by_hand() -> None:
    # logits (ln 3, 0): log-probabilities (ln .75, ln .25); target 0, smoothing .2
    logits, nouns = torch.tensor([[[math.log(3), 0.0]]]), torch.tensor([[[0]]])
    found = losses.noun_cross_entropy(logits, nouns, 0.2)
    by_hand = -0.8 * math.log(0.75) - 0.2 * (math.log(0.75) + math.log(0.25)) / 2
    assert found.item() == pytest.approx(by_hand, abs=1e-6)


def test_smoothing_is_the_one_torch_knows() -> None:
    logits, target = torch.randn(5, 7), torch.tensor([0, 6, 3, 3, 1])
    expected = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.3)
    found = losses.noun_cross_entropy(logits[None], target[None, :, None], 0.3)
    torch.testing.assert_close(found.mean(), expected)


def test_verb_loss_is_over_candidates_alone_and_leaves_the_others_without_gradient() -> None:
    logits = torch.tensor([[9.0, math.log(3), 9.0, 0.0]], requires_grad=True)
    candidates = torch.tensor([False, True, False, True])
    loss = losses.verb_loss(logits, torch.tensor([3]), candidates, ALL, 0.0)
    assert loss.item() == pytest.approx(math.log(4), abs=1e-6)  # probability of verb 3 is 1 / (3 + 1)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0].tolist() == [0, pytest.approx(0.75), 0, pytest.approx(-0.75)]


def test_noun_loss_sums_annotators_and_means_over_real_roles() -> None:
    # Role 0: probabilities (.75, .25), annotators say 0 0 1. Role 1 is not real.
    logits = torch.tensor([[[math.log(3), 0.0], [5.0, -5.0]]])
    nouns = torch.tensor([[[0, 0, 1], [1, 1, 1]]])
    found = losses.noun_loss(logits, nouns, torch.tensor([[True, False]]), 0.0)
    assert found.item() == pytest.approx(-2 * math.log(0.75) - math.log(0.25), abs=1e-6)
    smoothed = losses.noun_loss(logits, nouns, torch.tensor([[True, False]]), 0.2)
    even = -(math.log(0.75) + math.log(0.25)) / 2
    assert smoothed.item() == pytest.approx(0.8 * found.item() + 0.2 * 3 * even, abs=1e-5)


def test_distillation_loss_by_hand_and_only_towards_the_student() -> None:
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = losses.distillation_loss(student, teacher, ALL)
    assert loss.item() == pytest.approx(math.sqrt(2))  # mean of (1, 1), times sqrt(2)
    towards = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert towards[0].abs().sum() > 0
    assert towards[1] is None


def test_distillation_loss_of_unrelated_vectors_does_not_depend_on_the_width() -> None:
    torch.manual_seed(0)
    for width in (64, 512):
        a, b = torch.nn.functional.normalize(torch.randn(2, 400, width), dim=-1)
        loss = losses.distillation_loss(a, b, torch.ones(400, dtype=torch.bool))
        assert loss.item() == pytest.approx(2 / math.sqrt(math.pi), rel=0.02)


def test_negative_loss_counts_only_positive_cosines() -> None:
    aligned = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    negative = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    both = torch.tensor([True, True])
    assert losses.negative_loss(aligned, negative, both).item() == pytest.approx(0.3)  # (.6 + 0) / 2


def test_box_losses_by_hand() -> None:
    # Corners 0 0 1 1 and .75 0 1 1: the second is a quarter of the first, and inside it.
    predicted = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    boxes = torch.tensor([[[0.875, 0.5, 0.25, 1.0]]])
    exists = torch.tensor([[True]])
    assert losses.box_l1_loss(predicted, boxes, exists).item() == pytest.approx(1.125)  # .375 + 0 + .75 + 0
    assert losses.box_giou_loss(predicted, boxes, exists).item() == pytest.approx(0.75)


def test_box_exists_loss_by_hand() -> None:
    logits = torch.tensor([[math.log(3), 0.0, 7.0]])  # probabilities .75 and .5; the third role is not real
    exists = torch.tensor([[True, False, False]])
    found = losses.box_exists_loss(logits, exists, torch.tensor([[True, True, False]]))
    assert found.item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2, abs=1e-6)


def masked_out(leaf: Tensor) -> list[Tensor]:
    """Every loss with a mask that lets nothing through; leaf [1, 4]."""
    role, nothing = leaf[:, None], torch.tensor([[False]])
    return [
        losses.verb_loss(leaf, torch.tensor([0]), torch.ones(4, dtype=torch.bool), NONE, 0.3),
        losses.noun_loss(role, torch.zeros(1, 1, 3, dtype=torch.long), nothing, 0.2),
        losses.distillation_loss(leaf, torch.ones(1, 4), NONE),
        losses.negative_loss(leaf, torch.ones(1, 4), NONE),
        losses.box_l1_loss(role, torch.ones(1, 1, 4), nothing),
        losses.box_giou_loss(role, torch.zeros(1, 1, 4), nothing),
        losses.box_exists_loss(leaf[:, :1], nothing, nothing),
    ]


@pytest.mark.parametrize("which", range(7))
def test_masked_out_loss_is_zero_with_a_gradient_of_zero(which: int) -> None:
    leaf = torch.tensor([[0.1, 0.2, 0.3, 0.4]], requires_grad=True)
    loss = masked_out(leaf)[which]
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert loss.item() == 0
    assert gradient.tolist() == [[0, 0, 0, 0]]

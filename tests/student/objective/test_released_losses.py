"""Golden numbers are worked out by hand in the comments."""

import math

import pytest
import torch

from stages.student.objective import losses, released_losses

# Picture 0 has two roles, picture 1 one, picture 2 none.
MASK = torch.tensor([[True, True], [True, False], [False, False]])
NOBODY = torch.zeros_like(MASK)


def test_picture_mean_is_over_roles_first_and_pictures_that_have_any_second() -> None:
    values = torch.tensor([[1.0, 3.0], [10.0, float("nan")], [float("inf"), 5.0]])
    assert released_losses.picture_mean(values, MASK).item() == 6  # ((1 + 3) / 2 + 10) / 2
    assert losses.masked_mean(values, MASK).item() == pytest.approx(14 / 3)  # what the corrected method takes


def test_noun_loss_by_hand() -> None:
    # Probabilities (.75, .25) everywhere; annotators of the three real roles: 0 0 0, 1 1 1 and 0 0 1.
    logits = torch.tensor([math.log(3), 0.0]).expand(3, 2, 2)
    nouns = torch.tensor([[[0, 0, 0], [1, 1, 1]], [[0, 0, 1], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]]])
    found = released_losses.noun_loss(logits, nouns, MASK, 0.2)
    a, b = -math.log(0.75), -math.log(0.25)
    first, second = 0.8 * a + 0.1 * (a + b), 0.8 * b + 0.1 * (a + b)  # one annotator who says 0, or 1
    by_hand = ((3 * first + 3 * second) / 2 + (2 * first + second)) / 2
    assert found.item() == pytest.approx(by_hand, abs=1e-6)


def test_box_losses_by_hand() -> None:
    # Sums of differences .4 and .2 in picture 0, 1 in picture 1; picture 2 has no box.
    whole = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(3, 2, 4)
    boxes = whole.clone()
    boxes[0, 0] -= 0.1
    boxes[0, 1] -= 0.05
    boxes[1, 0] = torch.tensor([0.5, 0.5, 0.5, 0.5])  # a quarter of the whole, inside it
    assert released_losses.box_l1_loss(whole, boxes, MASK).item() == pytest.approx((0.3 + 1) / 2)
    only = torch.tensor([[False, False], [True, False], [False, False]])
    assert released_losses.box_giou_loss(whole, boxes, only).item() == pytest.approx(0.75)
    both = released_losses.box_giou_loss(whole, whole.clone(), MASK)
    assert both.item() == pytest.approx(0)


def test_box_exists_loss_by_hand() -> None:
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0], [9.0, 9.0]])  # probabilities .75 and .5
    exists = torch.tensor([[True, True], [False, False], [True, True]])
    by_hand = ((-math.log(0.75) - math.log(0.5)) / 2 - math.log(0.25)) / 2
    found = released_losses.box_exists_loss(logits, exists, MASK)
    assert found.item() == pytest.approx(by_hand, abs=1e-6)


def test_distillation_loss_by_hand_and_with_a_gradient_on_both_sides() -> None:
    student = torch.tensor([[3.0, 4.0], [9.0, 9.0]], requires_grad=True)  # of any length
    aligned = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = released_losses.distillation_loss(student, aligned, torch.tensor([True, False]))
    assert loss.item() == 3  # (2 + 4) / 2
    ours, theirs = torch.autograd.grad(loss, (student, aligned))
    assert ours.tolist() == [[0.5, 0.5], [0, 0]]
    assert theirs.tolist() == [[-0.5, -0.5], [0, 0]]


def test_where_everything_is_masked_each_loss_is_zero_with_zero_gradient() -> None:
    rows = torch.rand(3, 2, 4, requires_grad=True)
    vectors = torch.rand(3, 4, requires_grad=True)
    nouns, nothing = torch.zeros(3, 2, 3, dtype=torch.long), NOBODY[:, 0]
    found = {
        "noun": released_losses.noun_loss(rows, nouns, NOBODY, 0.2),
        "l1": released_losses.box_l1_loss(rows, torch.rand(3, 2, 4), NOBODY),
        "giou": released_losses.box_giou_loss(rows, torch.rand(3, 2, 4), NOBODY),
        "exists": released_losses.box_exists_loss(rows[..., 0], NOBODY, NOBODY),
        "distill": released_losses.distillation_loss(vectors, torch.rand(3, 4), nothing),
    }
    for name, loss in found.items():
        assert loss.item() == 0, name
        (gradient,) = torch.autograd.grad(loss, vectors if name == "distill" else rows)
        assert not gradient.any(), name

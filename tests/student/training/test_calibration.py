"""The bias of unseen verbs costs what was allowed, and looks at no picture of an unseen verb."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from stages.student.training.calibration import unseen_bias

UNSEEN = torch.tensor([False, False, True])
# Margins over the unseen verb: 1, 2, 3 and, of a picture that is wrong anyway, -5.
LOGITS = torch.tensor([[4.0, 0, 3], [4.0, 0, 2], [0, 4.0, 1], [0, -5.0, 0]])
VERB = torch.tensor([0, 0, 1, 1])


def accuracy(logits: torch.Tensor, verb: torch.Tensor) -> float:
    own = logits.gather(1, verb[:, None])
    right = ((logits >= own).sum(dim=1) == 1).double()
    return 100 * torch.stack([right[verb == v].mean() for v in set(verb.tolist())]).mean().item()


@pytest.mark.parametrize(("tolerance", "bias"), [(24.0, 1.0), (25.0, 2.0), (49.0, 2.0), (50.0, 3.0)])
def test_bias_by_hand(tolerance: float, bias: float) -> None:
    """Each of the three right pictures is half of a verb and a quarter of all: 25 points."""
    assert accuracy(LOGITS, VERB) == 75
    assert unseen_bias(LOGITS, VERB, UNSEEN, tolerance) == pytest.approx(bias, abs=1e-3)


@pytest.mark.parametrize(("share", "bias"), [(0.0, 0.0), (0.33, 1.0), (0.34, 2.0), (0.67, 3.0)])
def test_no_more_than_a_share_of_what_is_right_is_given_up(share: float, bias: float) -> None:
    """75 points are right: a third of them is one picture, two thirds are two."""
    assert unseen_bias(LOGITS, VERB, UNSEEN, 99.0, share) == pytest.approx(bias, abs=1e-3)


def test_a_student_that_names_nothing_has_nothing_to_give_up() -> None:
    assert unseen_bias(LOGITS[3:], VERB[3:], UNSEEN, 2.0) == 0


@pytest.mark.parametrize(
    ("logits", "verb", "unseen", "tolerance"),
    [
        (LOGITS, VERB, UNSEEN, 0.0),
        (LOGITS, VERB, torch.zeros(3, dtype=torch.bool), 5.0),
        (LOGITS[:0], VERB[:0], UNSEEN, 5.0),
    ],
)
def test_nothing_to_lose_or_to_raise_gives_no_bias(
    logits: torch.Tensor, verb: torch.Tensor, unseen: torch.Tensor, tolerance: float
) -> None:
    assert unseen_bias(logits, verb, unseen, tolerance) == 0


@given(st.integers(0, 10_000), st.floats(0.1, 60))
def test_no_more_is_lost_than_allowed_and_a_little_more_bias_would_lose_it(
    seed: int, tolerance: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits, verb = torch.randn(40, 9, generator=random) * 3, torch.randint(0, 6, (40,), generator=random)
    logits[torch.arange(40), verb] += 3
    unseen = torch.arange(9) >= 6
    bias = unseen_bias(logits, verb, unseen, tolerance)
    before = accuracy(logits, verb)
    assert before - accuracy(logits + bias * unseen, verb) <= tolerance + 1e-6
    if accuracy(logits + 1e3 * unseen, verb) < before - tolerance:
        assert before - accuracy(logits + (bias + 2e-4) * unseen, verb) > tolerance


def test_a_held_out_picture_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"1 of 4 pictures for the calibration are of held-out verbs; a number"
    ):
        unseen_bias(LOGITS, torch.tensor([0, 2, 1, 1]), UNSEEN, 1.0)

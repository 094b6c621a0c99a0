import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.student.network.boxes import giou, iou, to_centres, to_corners

unit = st.floats(0, 1, width=32)


def box(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def test_iou_of_half_overlapping_squares() -> None:
    assert iou(box(0, 0, 2, 2), box(1, 0, 3, 2)).item() == torch.tensor(2 / 6).item()


def test_iou_of_apart_touching_and_degenerate_boxes_is_zero_and_finite() -> None:
    a = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]])
    b = torch.tensor([[2.0, 2, 3, 3], [1, 0, 2, 1], [0.5, 0.5, 0.5, 0.5]])
    assert iou(a, b).tolist() == [0, 0, 0]
    assert torch.isfinite(giou(a, b)).all()


def test_giou_by_hand() -> None:
    # Apart: hull 3 x 1, union 2, so 0 - 1/3. Nested: IoU 1/4, hull is the large box, nothing is lost.
    apart = giou(box(0, 0, 1, 1), box(2, 0, 3, 1))
    nested = giou(box(0, 0, 2, 2), box(0, 0, 1, 1))
    torch.testing.assert_close(torch.stack([apart, nested]), torch.tensor([-1 / 3, 0.25]))


def test_giou_pulls_boxes_that_do_not_touch_together() -> None:
    moving = box(0, 0, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(giou(moving, box(2, 0, 3, 1)), moving)
    assert gradient[2] > 0  # moving x2 to the right raises it


def test_iou_broadcasts_to_all_pairs() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 6]])
    assert iou(boxes[:, None], boxes[None]).tolist() == [[1, 0], [0, 1]]


@given(st.tuples(unit, unit, unit, unit))
def test_centres_and_corners_undo_each_other(numbers: tuple[float, ...]) -> None:
    start = torch.tensor(numbers)
    torch.testing.assert_close(to_centres(to_corners(start)), start, atol=1e-6, rtol=0)


def test_corners_by_hand() -> None:
    assert to_corners(box(0.5, 0.25, 0.5, 0.5)).tolist() == [0.25, 0.0, 0.75, 0.5]

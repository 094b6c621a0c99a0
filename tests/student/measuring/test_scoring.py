import torch

from stages.student.measuring.metrics import PictureResults, summarise
from stages.student.measuring.scoring import Prediction, Truth, rank_of, score

BLANK, HORSE, DOG, OOV, PAD = range(5)
BOX = [0.0, 0.0, 10.0, 10.0]


def judge(
    nouns: list[int],
    annotated: list[list[int]],
    boxes: list[list[float]] | None = None,
    has_box: list[bool] | None = None,
    true_boxes: list[list[float]] | None = None,
    true_has_box: list[bool] | None = None,
    roles: int | None = None,
) -> PictureResults:
    """One picture of verb 0 with as many roles as nouns; without boxes unless given."""
    count = len(nouns)
    nothing, no = [[0.0] * 4] * count, [False] * count
    mask = [i < (count if roles is None else roles) for i in range(count)]
    predicted = Prediction(
        verb_logits=torch.tensor([[1.0, 0.0]]),
        nouns=torch.tensor([nouns]),
        boxes=torch.tensor([boxes or nothing]),
        has_box=torch.tensor([has_box or no]),
    )
    truth = Truth(
        verb=torch.tensor([0]),
        role_mask=torch.tensor([mask]),
        nouns=torch.tensor([annotated]),
        boxes=torch.tensor([true_boxes or nothing]),
        has_box=torch.tensor([true_has_box or no]),
    )
    return score(("a.jpg",), predicted, truth, never_right=(OOV, PAD))


def test_any_annotator_s_noun_is_right() -> None:
    found = judge([HORSE, DOG], [[DOG, DOG, HORSE], [HORSE, HORSE, HORSE]])
    assert found.noun_right.tolist() == [[True, False]]


def test_blank_is_right_where_an_annotator_left_the_role_unfilled() -> None:
    found = judge([BLANK, BLANK], [[BLANK, BLANK, BLANK], [HORSE, HORSE, HORSE]])
    assert found.noun_right.tolist() == [[True, False]]
    assert found.ground_right.tolist() == [[True, False]]  # rightly no box


def test_oov_and_pad_are_never_right_not_even_where_they_are_annotated() -> None:
    found = judge([OOV, PAD], [[OOV, OOV, OOV], [PAD, PAD, PAD]])
    assert found.noun_right.tolist() == [[False, False]]


def test_role_that_does_not_exist_is_never_right() -> None:
    found = judge([HORSE, HORSE], [[HORSE] * 3] * 2, roles=1)
    assert found.noun_right.tolist() == [[True, False]]
    assert found.ground_right.tolist() == [[True, False]]


def test_overlap_of_exactly_half_is_enough() -> None:
    half, less = [0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 4.9]
    found = judge([HORSE] * 2, [[HORSE] * 3] * 2, [half, less], [True] * 2, [BOX, BOX], [True] * 2)
    assert found.ground_right.tolist() == [[True, False]]


def test_grounding_needs_both_boxes_or_none() -> None:
    found = judge(
        [HORSE] * 3, [[HORSE] * 3] * 3, [BOX] * 3, [True, False, False], [BOX] * 3, [False, True, False]
    )
    assert found.ground_right.tolist() == [[False, False, True]]


def test_grounding_needs_the_noun() -> None:
    found = judge([DOG], [[HORSE] * 3], [BOX], [True], [BOX], [True])
    assert found.ground_right.tolist() == [[False]]


def test_rank_counts_verbs_above_and_ties_against_the_student() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [2.0, 2.0, 0.0]])
    assert rank_of(logits, torch.tensor([1, 0, 0])).tolist() == [1, 2, 1]


def test_logits_that_are_not_numbers_rank_last() -> None:
    logits = torch.full((1, 4), float("nan"))
    assert rank_of(logits, torch.tensor([2])).tolist() == [3]


def test_one_picture_from_what_was_said_to_every_figure() -> None:
    """Four roles. One: noun and box right. Two: nobody filled it, said so, rightly no box. Three: noun right,
    a box where there is none. Four: noun wrong, box right. The verb ties with two others, so it is third."""
    predicted = Prediction(
        verb_logits=torch.tensor([[0.5, 2.0, 2.0, 2.0]]),
        nouns=torch.tensor([[HORSE, BLANK, DOG, DOG]]),
        boxes=torch.tensor([[BOX, BOX, BOX, BOX]]),
        has_box=torch.tensor([[True, False, True, True]]),
    )
    truth = Truth(
        verb=torch.tensor([2]),
        role_mask=torch.tensor([[True] * 4]),
        nouns=torch.tensor([[[DOG, HORSE, OOV], [BLANK] * 3, [DOG] * 3, [HORSE] * 3]]),
        boxes=torch.tensor([[BOX, [0.0] * 4, [0.0] * 4, BOX]]),
        has_box=torch.tensor([[True, False, False, True]]),
    )
    scored = score(("a.jpg",), predicted, truth, never_right=(OOV, PAD))
    assert scored.rank.tolist() == [2]
    assert scored.noun_right.tolist() == [[True, True, True, False]]
    assert scored.ground_right.tolist() == [[True, True, False, False]]
    metrics = summarise(scored, ["seen"] * 4, "test")
    figures = metrics["subsets"]["seen"]
    assert figures["top1"] == {"verb": 0, "value": 0, "value_all": 0, "grnd": 0, "grnd_all": 0}
    assert figures["top5"] == {"verb": 100, "value": 75, "value_all": 0, "grnd": 50, "grnd_all": 0}
    assert figures["gt"] == {"value": 75, "value_all": 0, "grnd": 50, "grnd_all": 0}
    assert metrics["subsets"]["unseen"]["gt"]["value"] is None


def test_a_role_nobody_filled_is_wrong_with_a_noun_or_with_a_box() -> None:
    found = judge([HORSE, BLANK], [[BLANK] * 3] * 2, [BOX, BOX], [False, True])
    assert found.noun_right.tolist() == [[False, True]]
    assert found.ground_right.tolist() == [[False, False]]


def test_a_box_turned_inside_out_overlaps_with_nothing() -> None:
    found = judge([HORSE], [[HORSE] * 3], [[10.0, 10.0, 0.0, 0.0]], [True], [BOX], [True])
    assert found.ground_right.tolist() == [[False]]

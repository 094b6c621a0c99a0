import pytest
import torch

from stages.student.network.labels import LabelTexts, assemble_labels, label_centres


def test_assemble_lays_roles_out_in_the_verb_s_order() -> None:
    role = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    labels = assemble_labels(torch.zeros(2, 2), role, [[2, 0], [1]], torch.zeros(3, 2))
    assert labels.role.shape == (2, 6, 2)
    assert labels.role[0, :3].tolist() == [[2, 2], [1, 0], [0, 0]]
    assert labels.role[1, 0].tolist() == [0, 1]
    assert labels.role_mask.tolist() == [[True, True] + [False] * 4, [True] + [False] * 5]


@pytest.mark.parametrize("roles", [[], [0] * 7])
def test_verb_without_or_with_too_many_roles_is_refused(roles: list[int]) -> None:
    with pytest.raises(AssertionError, match=f"verb 0 has {len(roles)} roles"):
        assemble_labels(torch.zeros(1, 2), torch.zeros(1, 2), [roles], torch.zeros(1, 2))


def test_texts_of_different_widths_are_refused() -> None:
    with pytest.raises(AssertionError):
        LabelTexts(
            torch.zeros(1, 2), torch.zeros(1, 6, 2), torch.ones(1, 6, dtype=torch.bool), torch.zeros(4, 3)
        )


def test_centres_are_of_training_verbs_their_real_roles_and_all_nouns() -> None:
    role = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    texts = assemble_labels(
        torch.tensor([[2.0, 0.0], [4.0, 2.0], [99.0, 99.0]]),
        role,
        [[0, 1], [0], [2]],
        torch.tensor([[1.0, 1.0], [3.0, 3.0]]),
    )
    centres = label_centres(texts, torch.tensor([True, True, False]))
    assert centres.tolist() == [[3, 1], [pytest.approx(2 / 3), pytest.approx(1 / 3)], [2, 2]]

import torch

from stages.student.network.masks import never_empty


def test_only_an_empty_row_is_opened() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert never_empty(mask).tolist() == [[True, False, True], [True, True, True]]

import math

import pytest
import torch

from stages.student.network.cosine import CosineLogits


def test_scale_starts_at_clip_s_and_ends_at_one_hundred() -> None:
    cosine = CosineLogits()
    one = torch.tensor([[1.0, 0.0]])
    assert cosine(one, one).item() == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        cosine.log_scale.fill_(math.log(1e6))
    assert cosine(one, one).item() == pytest.approx(100, rel=1e-5)

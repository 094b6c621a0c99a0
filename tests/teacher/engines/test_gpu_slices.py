from __future__ import annotations

import pytest

from cache.errors import UserError
from stages.teacher.engines.gpu_slices import gpu_slices, visible_gpus


def test_every_engine_gets_gpus_of_its_own() -> None:
    assert gpu_slices(["0", "1", "2", "3"], 4, 1) == ["0", "1", "2", "3"]
    assert gpu_slices(["0", "1", "2", "3", "4"], 2, 2) == ["0,1", "2,3"]
    assert gpu_slices(["GPU-8f", "3"], 2, 1) == ["GPU-8f", "3"]


def test_without_gpus_nothing_is_set() -> None:
    assert gpu_slices([], 3, 1) == [None, None, None]
    assert gpu_slices(["0"], 2, 0) == [None, None]


def test_too_few_gpus_are_refused() -> None:
    with pytest.raises(UserError, match=r"4 engines .* of 2 GPUs each .* need 8 GPUs, .* sees 2 \(6, 7\)"):
        gpu_slices(["6", "7"], 4, 2)


@pytest.mark.parametrize(
    ("named", "found"), [(None, ["0", "1"]), ("5, 3", ["5", "3"]), ("5,3,9", ["5", "3"])]
)
def test_gpus_keep_the_names_they_were_given(
    monkeypatch: pytest.MonkeyPatch, named: str | None, found: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == found

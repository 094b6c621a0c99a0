import pytest
from pydantic import ValidationError

from stages.student.settings import LossSettings, StudentSettings, TrainSettings


def test_defaults_are_the_design_s() -> None:
    losses, train, student = LossSettings(), TrainSettings(), StudentSettings()
    assert (losses.verb, losses.verb_distill, losses.verb_negative) == (1, 2, 5)
    assert (losses.verb_smoothing, losses.noun_smoothing, losses.noun_open) == (0.3, 0.2, 0.02)
    assert (losses.box_l1, losses.box_giou, losses.box_exists) == (5, 5, 5)
    assert (train.lr, train.weight_decay, train.clip, train.epochs, train.batch_size) == (
        1e-4,
        1e-4,
        0.1,
        10,
        64,
    )
    assert (student.dim, student.heads, student.feed_forward) == (512, 8, 2048)


@pytest.mark.parametrize("name", ["heads", "alignment_heads"])
def test_heads_that_do_not_divide_the_width_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} 3 does not divide dim 512; each head takes an equal"):
        StudentSettings.model_validate({name: 3})


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", ""])
def test_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValidationError, match="device"):
        TrainSettings(device=device)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_known_device_is_taken(device: str) -> None:
    assert TrainSettings(device=device).device == device

"""The average of the weights, by hand, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from stages.student.training.average import WeightAverage
from stages.student.training.checkpoint import Position, load_state, save_state


def line(weight: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, weight)
    return layer


def test_average_by_hand() -> None:
    layer = line(0.0)
    average = WeightAverage(layer, 0.5)
    for step, (weight, expected) in enumerate([(1.0, 9 / 11), (2.0, 1.704545)], start=1):
        nn.init.constant_(layer.weight, weight)
        average.update(step)
        # The decay is 2 / 11 after the first step and 3 / 12 after the second, both below .5.
        assert average.tensors["weight"].item() == pytest.approx(expected, abs=1e-5)
    average.update(step=1000)
    assert average.tensors["weight"].item() == pytest.approx((1.704545 + 2) / 2, abs=1e-5)


def test_applied_puts_the_own_weights_back_to_the_bit_also_after_an_error() -> None:
    layer = line(1 / 3)
    average = WeightAverage(layer, 0.9)
    nn.init.constant_(layer.weight, 2 / 3)
    own = layer.weight.detach().clone()
    inside = []

    def fail() -> None:
        with average.applied():
            inside.append(layer.weight.item())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [pytest.approx(1 / 3)]
    assert torch.equal(layer.weight, own)


def test_a_saved_average_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    def trained(steps: list[int], stop: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        average = WeightAverage(layer, 0.9)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        for step in steps:
            optimizer.zero_grad()
            layer(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
            average.update(step)
            if step == stop:
                save_state(tmp_path / "state", layer, optimizer, Position(step=step), {}, average)
                layer = nn.Linear(3, 2)
                average = WeightAverage(layer, 0.9)
                optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
                load_state(tmp_path / "state", layer, optimizer, average)
        return average.tensors["weight"]

    assert torch.equal(trained([1, 2, 3, 4, 5], None), trained([1, 2, 3, 4, 5], 3))

"""A running average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights, after every step; begins at the weights themselves.

    In the first steps the decay is (1 + step) / (10 + step) where that is less, so that weights of the start
    do not linger (as in TensorFlow's ExponentialMovingAverage). Only what trains is averaged.

    Trains nothing and draws no random number: a run with an average takes the same steps as one without.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self.tensors = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after step number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._module.named_parameters():
            self.tensors[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average inside, and its own weights again, to the bit, afterwards."""
        own = {name: p.detach().clone() for name, p in self._module.named_parameters()}
        self._put(self.tensors)
        try:
            yield
        finally:
            self._put(own)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` held when a state was saved."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._module.named_parameters():
            parameter.copy_(tensors[name])

"""The processes that train one student together. One alone needs nothing of the others.

Several are `stages.student.torchrun.TorchrunProcesses`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cache.errors import MachineError
from stages.student.objective.objective import Loss


class LostProcessError(MachineError):
    """Another process of the training run is gone; the message names it."""


class Processes:
    """This process alone.

    rank        of this process; 0 writes, logs and evaluates
    count       of all
    local_rank  number of this process on its node
    whose       who a message is about, where there are several
    """

    rank = 0
    count = 1
    local_rank = 0
    whose = ""

    def want_stop(self, wanted: bool) -> None:
        """Told to the others with the next step."""

    @property
    def stopping(self) -> bool:
        """Any process wanted to stop before the last step."""
        return False

    def sum_counts(self, counts: Tensor) -> Tensor:
        """[T] of this process -> [T] of all."""
        return counts

    def sum_loss(self, loss: Loss) -> Loss:
        """What each process adds to the loss -> the loss."""
        return loss

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """What each process adds to the gradients -> the gradients, in place."""

    def send_weights(self, module: nn.Module) -> None:
        """Everybody goes on with the weights of rank 0."""

    def send(self, number: float) -> float:
        """The number of rank 0."""
        return number

    def first_said(self, said: str) -> str:
        """The text of the lowest rank that has one; every process asks at once."""
        return said

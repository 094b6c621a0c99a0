"""Batches that become smaller where the device has no room for them."""

from __future__ import annotations

from collections.abc import Callable

from cache.errors import MachineError
from stages.teacher.engines.fault_text import plain


class DeviceBatches:
    """Cuts work into batches, and halves them for good where the GPU's memory runs out.

    size  of a batch; what a smaller one computes differs in rounding at most, so no row key depends on it
    say   told of every halving
    """

    def __init__(self, size: int, say: Callable[[str], None] | None = None) -> None:
        assert size > 0
        self.size = size
        self._say = say or (lambda line: None)

    def run(self, count: int, forward: Callable[[slice], None]) -> None:
        """Calls `forward` with consecutive slices of `count` items; a slice that did not fit comes again.

        Raises MachineError where not even one item fits.
        """
        start = 0
        while start < count:
            part = slice(start, min(start + self.size, count))
            if fault := _try(forward, part):
                self._halve(part.stop - part.start, fault)
            else:
                start = part.stop

    def _halve(self, tried: int, fault: str) -> None:
        if tried == 1:
            raise MachineError(
                f"the GPU ran out of memory at a batch of one ({fault}); free the GPU, or choose a smaller "
                "encoder or precision bf16; everything finished so far is kept"
            )
        self.size = tried // 2
        self._say(
            f"the GPU ran out of memory at a batch of {tried} ({fault}); going on with batches of {self.size}"
        )


def _try(forward: Callable[[slice], None], part: slice) -> str:
    """Why the batch did not fit, or nothing."""
    import torch

    try:
        forward(part)
    except torch.OutOfMemoryError as reason:
        fault = plain(reason)
    else:
        return ""
    # Only after the exception is gone, whose traceback holds the tensors of the batch.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fault

"""Work is cut into batches, which shrink where the device has no room."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import MachineError
from stages.teacher.encoders.device_batches import DeviceBatches


class Device:
    """Has room for so many items at once; remembers what was computed."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.computed: list[int] = []
        self.refused = 0

    def forward(self, part: slice) -> None:
        if part.stop - part.start > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        self.computed += range(part.start, part.stop)


@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 20))
def test_every_item_is_computed_once_and_in_order(count: int, size: int, room: int) -> None:
    device, said = Device(room), list[str]()
    batches = DeviceBatches(size, said.append)
    batches.run(count, device.forward)
    assert device.computed == list(range(count))
    assert len(said) == device.refused
    if count >= size:
        assert batches.size <= room
        assert not said or batches.size * 2 + 1 > room, "halved no more than needed"


def test_what_was_learnt_of_the_device_stays() -> None:
    device, said = Device(3), list[str]()
    batches = DeviceBatches(8, said.append)
    batches.run(8, device.forward)
    batches.run(8, device.forward)
    assert (batches.size, device.refused) == (2, 2)
    assert said[0] == (
        "the GPU ran out of memory at a batch of 8 (CUDA out of memory. Tried to allocate 1.00 GiB.); "
        "going on with batches of 4"
    )


def test_no_room_for_one_item_is_the_machines_fault() -> None:
    with pytest.raises(MachineError, match=r"at a batch of one \(CUDA out .*\); free the GPU, or"):
        DeviceBatches(4).run(4, Device(0).forward)


def test_another_error_is_not_taken_for_it() -> None:
    def broken(part: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        DeviceBatches(4).run(4, broken)

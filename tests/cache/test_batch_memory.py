"""Memory is lent again when nobody refers to it any more, and not before."""

from __future__ import annotations

import numpy as np
import torch

from cache.batch_memory import BatchMemory

SHAPE = (512, 1024)  # 2 MiB of float32


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_an_array_that_is_gone_is_lent_again() -> None:
    memory = BatchMemory()
    first = address(memory.empty(SHAPE, np.float32))
    assert address(memory.empty(SHAPE, np.float32)) == first
    assert address(memory.empty((500, 1024), np.int32)) == first, "also to a shorter batch"


def test_whatever_refers_to_an_array_keeps_it() -> None:
    memory = BatchMemory()
    array = memory.empty(SHAPE, np.float32)
    first, part = address(array), array[3:4, 5:]
    del array
    second = memory.empty(SHAPE, np.float32)
    assert address(second) != first
    tensor = torch.from_numpy(second).view(torch.bfloat16)[7]
    taken = {first, address(second)}
    del second
    assert address(memory.empty(SHAPE, np.float32)) not in taken
    del part
    assert address(memory.empty(SHAPE, np.float32)) not in taken - {first}
    del tensor
    assert {address(a) for a in [memory.empty(SHAPE, np.float32) for _ in range(3)]} >= taken


def test_the_graph_of_a_step_keeps_what_it_needs() -> None:
    memory = BatchMemory()
    tokens = torch.from_numpy(memory.empty(SHAPE, np.float32)).fill_(2.0)
    weight = torch.ones(1024, requires_grad=True)
    loss = (tokens @ weight).sum()
    del tokens
    memory.empty(SHAPE, np.float32).fill(5.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0 * 512] * 1024


def test_it_keeps_no_more_than_a_few_arrays() -> None:
    memory = BatchMemory()
    kept = [memory.empty((2, 1 << 20), np.uint8) for _ in range(40)]
    del kept
    memory.empty((100, 1 << 20), np.uint8)
    assert len(memory._blocks) == 1


def test_small_arrays_are_numpys_own() -> None:
    memory = BatchMemory()
    assert memory.empty((3, 4), np.float32).base is None
    assert memory._blocks == []

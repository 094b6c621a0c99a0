"""Reading ahead changes neither the results nor their order, and leaves nothing under way."""

from __future__ import annotations

import threading

import pytest

from stages.student.reading.read_ahead import AHEAD, read_ahead


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1, 20])
def test_results_come_in_order(count: int) -> None:
    assert list(read_ahead(lambda number: number * number, range(count))) == [n * n for n in range(count)]


def test_the_next_ones_are_under_way_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(10)]

    def read(number: int) -> int:
        begun[number].set()
        return number

    results = read_ahead(read, range(10))
    assert next(results) == 0
    assert all(begun[number].wait(timeout=30) for number in range(AHEAD + 1))
    assert not any(event.is_set() for event in begun[AHEAD + 2 :]), "and no more than memory was meant for"
    results.close()


def test_an_exception_comes_where_its_result_would() -> None:
    def read(number: int) -> float:
        return 6 / (number - 3)

    results = read_ahead(read, range(6))
    assert [next(results) for _ in range(3)] == [-2.0, -3.0, -6.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_is_under_way_once_it_is_closed() -> None:
    before = set(threading.enumerate())
    results = read_ahead(lambda number: number, range(100))
    next(results)
    results.close()
    assert set(threading.enumerate()) == before

"""A stop that is asked for inside a step comes after it."""

from __future__ import annotations

import signal
import threading

import pytest

from stages.held_signals import signals_held


def stop_within(done: list[str], fault: Exception | None = None) -> None:
    with signals_held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
        if fault:
            raise fault


def test_ctrl_c_comes_after_the_block_and_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        stop_within(done)
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_fault_inside_the_block_is_not_lost_with_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        stop_within([], ValueError("full"))
    assert isinstance(caught.value.__context__, ValueError)


def test_another_thread_has_nothing_to_hold() -> None:
    faults: list[BaseException] = []

    def step() -> None:
        try:
            with signals_held():
                pass
        except BaseException as reason:
            faults.append(reason)

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert faults == []

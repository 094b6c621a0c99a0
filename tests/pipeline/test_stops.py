"""Ctrl-C, SIGTERM and a closed terminal end a command in one way, and only while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cache.errors import MachineError
from pipeline import cli, stops

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds until a test that waits for nothing fails


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stops, "SWALLOWED_AFTER", 0.01)
    monkeypatch.setattr(stops, "LAST_BREATH", 1e6)  # this process goes on
    before = {number: signal.getsignal(number) for number in stops.STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def end_of(monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> object:
    """The exit code of a command."""
    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def interrupted(number: signal.Signals) -> Callable[[], None]:
    def command() -> None:
        signal.raise_signal(number)
        raise SystemExit(0)

    return command


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stop_ends_with_its_code_and_says_how_to_go_on(
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end_of(monkeypatch, interrupted(number)) == code
    assert "stopped; everything finished is kept: run the same command to go on" in capsys.readouterr().err


@pytest.mark.parametrize("number", stops.STOPS)
def test_a_signal_that_is_ignored_stays_ignored(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C in a job that a shell started in the background, and SIGHUP under nohup."""
    signal.signal(number, signal.SIG_IGN)
    assert end_of(monkeypatch, interrupted(number)) == 0


@pytest.mark.parametrize("number", stops.STOPS)
def test_afterwards_signals_mean_what_they_meant_before(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {number: signal.getsignal(number) for number in stops.STOPS}
    end_of(monkeypatch, interrupted(number))
    assert {number: signal.getsignal(number) for number in stops.STOPS} == before


def test_a_stop_that_a_library_swallows_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def command() -> None:
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        Finalised()
        with suppress(BaseException):
            threading.Event().wait(PATIENCE)  # the second stop, swallowed in another way
        threading.Event().wait(PATIENCE)
        raise SystemExit(0)

    assert end_of(monkeypatch, command) == 130


def test_a_stop_that_is_being_carried_out_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to write what is finished, also where that meets and handles faults."""
    done = []

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            try:
                raise ValueError
            except ValueError:
                threading.Event().wait(0.2)
            threading.Event().wait(0.2)
            done.append("written")

    assert end_of(monkeypatch, command) == 130
    assert done == ["written"]


def test_what_a_stop_breaks_is_not_told_as_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except SystemExit:
            raise MachineError("the engine did not start") from None

    assert end_of(monkeypatch, command) == 130
    assert "the engine did not start" not in capsys.readouterr().err


def test_a_thread_that_waits_for_ever_does_not_keep_a_stopped_program_alive() -> None:
    program = (
        "import signal, threading; from pipeline import stops\n"
        "stops.LAST_BREATH = 0.1\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "with stops.stops_unwind(): signal.raise_signal(signal.SIGINT)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=PATIENCE, check=False)
    assert done.returncode == 130

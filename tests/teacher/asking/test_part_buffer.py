"""Finished pictures reach the store once, however the block ends."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cache.paths import StorePaths
from cache.rationales import (
    QuarantineRow,
    RationaleRow,
    append_quarantine,
    append_rationales,
    read_quarantine,
    read_rationales,
)
from stages.teacher.asking import part_buffer
from stages.teacher.asking.part_buffer import PartBuffer
from tests.cache import small_store


def row(image: str) -> RationaleRow:
    return RationaleRow(**small_store.row(image))


def test_a_part_is_written_when_it_is_full_and_when_it_is_old(tmp_path: Path) -> None:
    paths, now = StorePaths(tmp_path), [0.0]
    with PartBuffer(paths, {}, pictures=2, seconds=60, clock=lambda: now[0]) as buffer:
        buffer.finish([row("a.jpg")])
        assert read_rationales(paths).is_empty()
        buffer.finish([row("b.jpg")])
        assert read_rationales(paths).height == 2
        now[0] = 61.0
        buffer.finish([], QuarantineRow("c.jpg", "generate-rationales", "no answer", 3, "", "key"))
        assert read_quarantine(paths)["image"].to_list() == ["c.jpg"]
        buffer.finish([row("d.jpg")])
    assert read_rationales(paths)["image"].to_list() == ["a.jpg", "b.jpg", "d.jpg"]
    assert (buffer.accepted, buffer.rejected, buffer.failed) == (3, 0, 1)


def test_a_stop_between_the_two_parts_writes_neither_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = StorePaths(tmp_path)
    stops = iter([KeyboardInterrupt()])

    def interrupted(
        paths: StorePaths, rows: Sequence[QuarantineRow], producer: dict[str, Any], tag: str
    ) -> None:
        if stop := next(stops, None):
            raise stop
        append_quarantine(paths, rows, producer, tag)

    monkeypatch.setattr(part_buffer, "append_quarantine", interrupted)
    buffer = PartBuffer(paths, {}, pictures=2, seconds=60)
    buffer.finish([], QuarantineRow("c.jpg", "generate-rationales", "no answer", 3, "", "key"))
    with pytest.raises(KeyboardInterrupt), buffer:
        buffer.finish([row("a.jpg")])
    assert read_rationales(paths)["image"].to_list() == ["a.jpg"]
    assert read_quarantine(paths)["image"].to_list() == ["c.jpg"]


def test_a_signal_after_a_part_is_listed_writes_its_rows_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, stops = StorePaths(tmp_path), iter([signal.SIGINT])

    def stopped(paths: StorePaths, rows: Sequence[Any], producer: dict[str, Any], tag: str) -> None:
        append_rationales(paths, rows, producer, tag)
        if stop := next(stops, None):
            signal.raise_signal(stop)

    monkeypatch.setattr(part_buffer, "append_rationales", stopped)
    buffer = PartBuffer(paths, {}, pictures=1, seconds=60)
    with pytest.raises(KeyboardInterrupt), buffer:
        buffer.finish([row("a.jpg")])
    assert read_rationales(paths)["image"].to_list() == ["a.jpg"]

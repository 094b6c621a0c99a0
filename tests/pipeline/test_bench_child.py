from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.errors import MachineError
from pipeline.bench.child import in_new_process, own_bytes, peak_mib
from stages.teacher.engines import process_memory


def test_what_a_new_process_returns_comes_back() -> None:
    assert in_new_process(divmod, 17, 5) == (3, 2)
    assert in_new_process(os.getpid) != os.getpid()


def test_a_process_that_ends_without_an_answer_is_told_with_its_status() -> None:
    with pytest.raises(MachineError, match="the process that was measured ended with 7"):
        in_new_process(os._exit, 7)


def test_memory_that_cannot_be_measured_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 0 < own_bytes() / (1 << 20) < peak_mib()
    monkeypatch.setattr(process_memory, "PROC", tmp_path)
    for measure in (peak_mib, own_bytes):
        with pytest.raises(MachineError, match=r"memory is measured by Linux's /proc, which is not here"):
            measure()

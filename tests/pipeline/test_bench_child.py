from __future__ import annotations

import os

import pytest

from cache.errors import MachineError
from pipeline.bench.child import in_new_process


def test_what_a_new_process_returns_comes_back() -> None:
    assert in_new_process(divmod, 17, 5) == (3, 2)
    assert in_new_process(os.getpid) != os.getpid()


def test_a_process_that_ends_without_an_answer_is_told_with_its_status() -> None:
    with pytest.raises(MachineError, match="the process that was measured ended with 7"):
        in_new_process(os._exit, 7)

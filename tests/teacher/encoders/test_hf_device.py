from __future__ import annotations

import logging as levels

import pytest
import torch
from transformers.utils import logging

from cache.errors import MachineError, UserError
from stages.teacher.encoders.hf_device import (
    loading_guard,
    quiet,
    resolve_device,
    resolve_precision,
    torch_dtype,
)


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert resolve_device("auto") == ("cuda" if torch.cuda.device_count() else "cpu")
    assert resolve_device("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UserError, match=rf"device 'cuda:99'.* sees {count} GPU\(s\).*set device to 'auto'"):
        resolve_device("cuda:99")


def test_precision_on_a_cpu_is_fp32_unless_asked() -> None:
    assert resolve_precision("auto", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"
    assert torch_dtype("bf16") is torch.bfloat16


def test_a_gpu_too_small_for_the_weights_says_what_helps() -> None:
    with (
        pytest.raises(MachineError, match=r"the weights of a/b \(CUDA out.*GiB\.\).*precision to bf16"),
        loading_guard("a/b"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def test_quiet_keeps_stdout_free_and_restores_the_log_level(capsys: pytest.CaptureFixture[str]) -> None:
    logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    before = logging.get_verbosity(), True
    with quiet():
        assert not logging.is_progress_bar_enabled()
        print("from a model's own code")  # noqa: T201
        assert logging.get_verbosity() == levels.ERROR
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "own code" in captured.err
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before

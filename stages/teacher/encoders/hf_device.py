"""Where and in which number format a pretrained encoder runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from cache.errors import MachineError, UserError
from stages.teacher.encoders.encoder_settings import Precision
from stages.teacher.engines.fault_text import plain

if TYPE_CHECKING:
    import torch

NumberFormat = Literal["fp32", "bf16", "fp16"]


def resolve_device(setting: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` -> the device to use; UserError for a GPU that is not there."""
    import torch

    gpus = torch.cuda.device_count()
    if setting == "auto":
        return "cuda" if gpus else "cpu"
    if setting.startswith("cuda"):
        index = int(setting.partition(":")[2] or 0)
        if index >= gpus:
            raise UserError(
                f"device {setting!r} is asked for, but torch {torch.__version__} sees {gpus} GPU(s) here, "
                "numbered from 0; set device to 'auto' or 'cpu', or install the build of torch for this GPU"
            )
    return setting


def resolve_precision(setting: Precision, device: str) -> NumberFormat:
    """`auto` -> bf16 on a GPU that supports it, else fp32; anything else as it is."""
    import torch

    if setting != "auto":
        return setting
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"


def torch_dtype(precision: NumberFormat) -> torch.dtype:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@contextlib.contextmanager
def loading_guard(model: str) -> Iterator[None]:
    """Turns a GPU without room for a model's weights into a MachineError."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as reason:
        raise MachineError(
            f"the GPU has no room for the weights of {model} ({plain(reason)}); free the GPU, set the "
            "encoder's precision to bf16 or its device to cpu; everything finished so far is kept"
        ) from reason


def free_memory() -> None:
    """Gives back what models that are no longer referred to held, on the GPU too."""
    import gc

    import torch

    gc.collect()  # modules refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' load reports and bars away, and anything it prints off stdout."""
    import logging as levels

    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(levels.ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]

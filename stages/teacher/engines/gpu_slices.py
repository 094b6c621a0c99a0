"""Which GPUs each of several engines on one machine gets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cache.errors import UserError


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, as CUDA_VISIBLE_DEVICES writes them; empty without any."""
    import torch

    count = torch.cuda.device_count()  # starts nothing on them, and keeps to CUDA_VISIBLE_DEVICES
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def gpu_slices(gpus: Sequence[str], engines: int, gpus_each: int) -> list[str | None]:
    """A value of CUDA_VISIBLE_DEVICES for each engine; None leaves it as it is.

    Without any GPU, or where an engine needs none, nothing is set. Raises UserError for too few.
    """
    if not gpus or not gpus_each:
        return [None] * engines
    if len(gpus) < engines * gpus_each:
        raise UserError(
            f"{engines} engines (teacher.vllm.data_parallel_size) of {gpus_each} GPUs each "
            f"(tensor_parallel_size) need {engines * gpus_each} GPUs, and this program sees {len(gpus)} "
            f"({', '.join(gpus)}); lower data_parallel_size, or name more in CUDA_VISIBLE_DEVICES"
        )
    return [",".join(gpus[start : start + gpus_each]) for start in range(0, engines * gpus_each, gpus_each)]

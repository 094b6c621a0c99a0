"""Settings of a teacher whose copies run as actors on a Ray cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.settings import Settings


class RaySettings(Settings):
    """How many copies of the engine a Ray cluster runs, and what each of them takes.

    Every node needs this package with its extras, and the pictures and the model at the same paths as here.
    """

    address: str = ""
    """Address of a running cluster, e.g. `auto` or `ray://head:10001`; empty starts one on this machine."""
    engine: Literal["vllm", "template"] = "vllm"
    """What each worker runs; its settings are those of `teacher.vllm`."""
    workers: int = Field(default=1, ge=1)
    """Copies of the engine."""
    gpus_per_worker: float = Field(default=1, ge=0)
    """GPUs Ray reserves for each worker; `teacher.vllm.tensor_parallel_size` of them, or 0 on a CPU."""
    cpus_per_worker: float = Field(default=1, ge=0)
    """CPU cores Ray reserves for each worker."""
    requests_per_shard: int = Field(default=512, ge=1)
    """Requests handed to a worker at once. They come back together, and are asked again when its node dies;
    few of them leave the engine half empty at the end of each shard, so take several times `max_num_seqs`."""
    restarts: int = Field(default=3, ge=0)
    """How often Ray starts each worker that died again, and how often it repeats a shard that failed. A shard
    that fails then too is set aside, and its pictures are in quarantine."""

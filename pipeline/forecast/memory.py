"""How much memory the models of stage one take, beside what there is.

Stage two is not reckoned here: teacher and student are never in memory together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import UserError
from pipeline.checks.model_files import count_elements, require_model
from pipeline.checks.needs import Needs
from pipeline.forecast.spread import Spread
from pipeline.machine import Machine
from pipeline.table import size
from stages.teacher.encoders.encoder_settings import EncoderSettings
from stages.teacher.engines.vllm_settings import EXAMPLE, VllmSettings

# Bytes of one number by its format in a safetensors file.
_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_FLOATS = ("F64", "F32", "F16", "BF16")  # what loading changes to the wanted format
_DTYPE = {"bfloat16": 2, "float16": 2, "float32": 4}
_PRECISION = {"bf16": 2, "fp16": 2, "fp32": 4}
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that one thing takes, and what it may take.

    where  "each GPU" or "RAM"
    bytes  from the least with which it works; None = unknown, and `basis` says why
    have   bytes it may take; None = not known here
    mend   what to change where it does not fit
    elastic  with less than the most it only becomes slower
    """

    what: str
    where: str
    bytes: Spread | None
    have: int | None
    basis: str
    mend: str
    elastic: bool


def model_needs(needs: Needs, machine: Machine) -> Iterator[Need]:
    """Of each model that vLLM runs, and of the encoders of `embed-teacher` taken together."""
    for path, settings in needs.vllm.items():
        yield _vllm(path, settings, machine, on_cluster=needs.ray)
    if needs.encoders:
        yield _encoders(needs.encoders, machine)


def _vllm(path: str, settings: VllmSettings, machine: Machine, on_cluster: bool) -> Need:
    on_gpu = bool(machine.gpus)
    split = settings.tensor_parallel_size
    copies = 1 if on_gpu else settings.data_parallel_size * split  # without GPUs all share the memory
    mend = f"raise {path}.tensor_parallel_size, lower max_model_len, or choose a smaller or quantised model"
    have: int | None = _gpu_share(machine, settings) if on_gpu else machine.memory_available
    if on_cluster:
        have = None
    try:
        checkpoint = require_model(settings.model, settings.revision, EXAMPLE)
        weights = weight_bytes(count_elements(checkpoint), _DTYPE.get(settings.dtype, 0))
        cache = cache_bytes_per_token(checkpoint.read_config(), _DTYPE.get(settings.dtype, 2))
    except UserError as reason:
        return Need(path, "each GPU" if on_gpu else "RAM", None, have, f"unknown: {reason}", mend, True)
    one = cache * settings.max_model_len
    taken = 0 if on_gpu else _cache_taken_at_once(os.environ)
    needed = Spread(weights + max(one, taken), None, weights + max(one * settings.max_num_seqs, taken))
    basis = (
        f"weights {size(weights)}, key-value cache {size(one)} for each of 1 to {settings.max_num_seqs} texts"
    )
    if not cache:
        basis = f"weights {size(weights)}; config.json does not tell the size of the key-value cache"
    basis += f", {size(taken)} of it at once" if taken else ""
    basis += f", split over {split} GPUs" if on_gpu and split > 1 else ""
    if on_cluster:
        basis += "; the memory of the cluster's nodes is not known here"
    return Need(path, "each GPU" if on_gpu else "RAM", needed * (copies / split), have, basis, mend, True)


def _gpu_share(machine: Machine, settings: VllmSettings) -> int | None:
    """What the engine takes of the smallest GPU it would run on; None where its memory is not known."""
    wanted = settings.tensor_parallel_size * settings.data_parallel_size
    used = sorted(gpu.memory for gpu in machine.gpus)[-wanted:]
    return int(used[0] * settings.gpu_memory_utilization) or None


def _cache_taken_at_once(environment: Mapping[str, str]) -> int:
    """Key-value cache that vLLM's CPU build takes when it starts; 0 where the variable is not set."""
    value = environment.get("VLLM_CPU_KVCACHE_SPACE", "")
    return int(value) * _GIB if value.isdecimal() else 0


def weight_bytes(elements: Counter[str], width: int) -> int:
    """Bytes in memory where floating-point numbers get `width` bytes; 0 leaves them as they are."""
    return sum(
        count * (width if width and name in _FLOATS else _WIDTH.get(name, 1))
        for name, count in elements.items()
    )


def cache_bytes_per_token(config: Mapping[str, Any], width: int) -> int:
    """Keys and values of one token in all layers; 0 where the config names no such sizes."""
    text = config.get("text_config") or config.get("llm_config") or config.get("language_config") or config
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    layers, kept = text.get("num_hidden_layers"), text.get("num_key_value_heads") or heads
    if not (heads and hidden and layers and kept):
        return 0
    head = text.get("head_dim") or hidden // heads
    return int(2 * layers * kept * head * width)


def _encoders(towers: Mapping[str, EncoderSettings], machine: Machine) -> Need:
    """At most: of a whole model only its tower is loaded."""
    on_gpu = bool(machine.gpus) and any(tower.device != "cpu" for tower in towers.values())
    where, mend = "one GPU" if on_gpu else "RAM", "set the encoders' `precision` to bf16, or `device` to cpu"
    have = (machine.gpus[0].memory or None) if on_gpu else machine.memory_available
    whole = 0
    for tower in towers.values():
        try:
            checkpoint = require_model(tower.model, tower.revision)
            width = _PRECISION.get(tower.precision, 2 if on_gpu else 4)
            whole += weight_bytes(count_elements(checkpoint), width)
        except UserError as reason:
            return Need("encoders", where, None, have, f"unknown: {reason}", mend, False)
    basis = f"weights of {len(towers)} whole models, of which only the towers are loaded"
    return Need("encoders", where, Spread(0, None, whole), have, basis, mend, False)


def gpu_conflicts(needs: Needs, machine: Machine) -> Iterator[tuple[str, str]]:
    """What vLLM refuses whatever the model, and how to mend it."""
    if needs.ray or not machine.gpus:
        return
    for path, settings in needs.vllm.items():
        wanted = settings.tensor_parallel_size * settings.data_parallel_size
        if wanted > len(machine.gpus):
            found = f"{path} asks for {wanted} GPUs, and there are {len(machine.gpus)}"
            yield found, f"lower {path}.tensor_parallel_size or data_parallel_size"
        for gpu in machine.gpus[:wanted]:
            taken = gpu.memory * settings.gpu_memory_utilization
            if gpu.free is not None and gpu.free < taken:
                found = f"{path} takes {size(int(taken))} of the {gpu.name}, and {size(gpu.free)} are free"
                yield found, f"end what else runs there, or lower {path}.gpu_memory_utilization"
    share = sum(settings.gpu_memory_utilization for settings in needs.vllm.values())
    if len(needs.vllm) > 1 and share > 1:
        found = f"{' and '.join(needs.vllm)} together take {share:.2f} times a GPU's memory"
        yield found, "lower gpu_memory_utilization of both to a sum below 1"

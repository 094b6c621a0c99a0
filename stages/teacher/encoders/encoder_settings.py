"""Settings of the frozen encoders that fill the banks."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.data.geometry import Mode
from stages.settings import Settings
from stages.teacher.engines.vllm_settings import refuse_own_settings

Source = Literal["builtin", "transformers", "vllm"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class PoolingSettings(Settings):
    """The engine that gives out a language model's hidden states; read where `source` is `vllm`."""

    trust_remote_code: bool = False
    """True lets the model's repository run its own Python code on this machine."""
    max_model_len: int = Field(default=2048, ge=16)
    """Tokens of one prompt, picture included."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory the engine takes; without a GPU, of the machine's. Encoders are loaded one
    after the other, never two at once."""
    enforce_eager: bool = False
    """True skips compilation and CUDA graphs: starts faster, computes slower."""
    processor: dict[str, Any] = Field(default_factory=dict)
    """Handed to the model's picture processor, e.g. `do_image_splitting: false`; unknown ones are ignored."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Handed to `vllm.LLM` as they are, e.g. `quantization: fp8`; any change counts as another encoder."""

    @field_validator("extra")
    @classmethod
    def _without_own_setting(cls, extra: dict[str, Any]) -> dict[str, Any]:
        return refuse_own_settings(extra, cls)


class EncoderSettings(Settings):
    """What vision and text encoders have in common."""

    source: Source = "builtin"
    """`builtin` needs no weights and is for a first look; `transformers` reads a tower of a pretrained model;
    `vllm` gives the last hidden states of a multimodal language model."""
    model: str = ""
    """A local folder with config.json and safetensors weights, or a hub model id; not for `builtin`."""
    revision: str = ""
    """Commit, branch or tag of a hub model, empty for its main branch; must be empty for a local folder."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures or texts per forward pass, given to `vllm` at once; where the GPU's memory runs out it is
    halved, which is said. Decides rounding at most."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`cpu`, `cuda` or `cuda:N` for the N-th GPU; `auto` takes the first GPU where there is one; not for
    `vllm`, which takes what it was built for."""
    precision: Precision = "auto"
    """Number format of weights and activations; `auto` is bf16 on a GPU that supports it, else fp32."""
    vllm: PoolingSettings = PoolingSettings()
    """The engine of source `vllm`."""

    @model_validator(mode="after")
    def _model_given(self) -> Self:
        if self.source != "builtin" and not self.model:
            known = {"transformers": "openai/clip-vit-large-patch14", "vllm": "Qwen/Qwen2.5-VL-7B-Instruct"}
            raise ValueError(
                f"source is {self.source!r} but model is empty; "
                f"name a local folder or a hub id such as {known[self.source]}"
            )
        if self.source == "builtin" and self.model:
            raise ValueError(
                f"model is {self.model!r} but source is 'builtin', which reads no weights; "
                "set source to 'transformers' or leave model empty"
            )
        return self


class VisionEncoderSettings(EncoderSettings):
    """One frozen vision encoder; the config of a pretrained model decides its width, and often its frame."""

    mode: Mode = "stretch"
    """How a picture fills the square frame; `stretch` keeps every box visible, `crop` is CLIP's own way."""
    layer: int = Field(default=-1, le=-1)
    """-1 is the tower's last hidden state, -2 the output of its last layer but one; `transformers` only."""
    size: int = Field(default=0, ge=0)
    """Side of the frame in pixels; 0 is what the model was trained on, 448 for Qwen-VL, which takes any
    multiple of its merged patches, and 128 for `builtin`; `vllm` must be told."""
    grid: int = Field(default=0, ge=0)
    """Patches along one side of the frame. For `builtin`, `size` is a multiple of twice as many and 0 is 8;
    `vllm` must be told, and the model must give as many; a `transformers` tower has its own."""
    dim: int = Field(default=96, ge=8)
    """Width of a token, at least 32; `builtin` only."""
    variant: str = "a"
    """Name of the random projections: two variants see one picture in two ways; `builtin` only."""

    @model_validator(mode="after")
    def _frame_given(self) -> Self:
        if self.source == "vllm" and not (self.size and self.grid):
            raise ValueError(
                f"source is 'vllm', with size {self.size} and grid {self.grid}: how many picture tokens a "
                "frame becomes only the model knows; set both, such as size 448 and grid 16 for Qwen2.5-VL"
            )
        return self


class TextEncoderSettings(EncoderSettings):
    """One frozen text encoder."""

    max_tokens: int = Field(default=0, ge=0)
    """Longest text in tokens, special tokens included; 0 is the model's own limit, and more is refused. For
    `vllm`, whose own limit is thousands, 0 is 128."""
    long_texts: Literal["pool", "cut"] = "pool"
    """What becomes of a text beyond that limit: `pool` encodes it in pieces of whole sentences and averages
    neighbouring tokens until they fit, `cut` drops its end. Either way it is counted."""
    trust_remote_code: bool = False
    """True lets the model's repository run its own Python code on this machine; CLIP and SigLIP need none;
    `vllm` has a setting of its own for it."""
    dim: int = Field(default=128, ge=8)
    """Width of a token; `builtin` only."""
    pooled_dim: int = Field(default=256, ge=8)
    """Width of a pooled vector, the space that labels are compared in; `builtin` only."""

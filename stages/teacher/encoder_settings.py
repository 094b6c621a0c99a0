"""Settings of the frozen encoders that fill the banks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.data.geometry import Mode
from stages.settings import Settings

Source = Literal["builtin", "transformers"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class EncoderSettings(Settings):
    """What vision and text encoders have in common."""

    source: Source = "builtin"
    """`builtin` needs no weights and is for a first look; `transformers` reads a tower of a pretrained
    model."""
    model: str = ""
    """A local folder with config.json and safetensors weights, or a hub model id; not for `builtin`."""
    revision: str = ""
    """Commit, branch or tag of a hub model, empty for its main branch; must be empty for a local folder."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures or texts per forward pass; where the GPU's memory runs out it is halved, which is said. It
    decides rounding at most."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """`cpu`, `cuda` or `cuda:N` for the N-th GPU; `auto` takes the first GPU where there is one."""
    precision: Precision = "auto"
    """Number format of weights and activations; `auto` is bf16 on a GPU that supports it, else fp32."""

    @model_validator(mode="after")
    def _model_given(self) -> Self:
        if self.source == "transformers" and not self.model:
            raise ValueError(
                "source is 'transformers' but model is empty; "
                "name a local folder or a hub id such as openai/clip-vit-large-patch14"
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
    multiple of its merged patches, and 128 for `builtin`."""
    grid: int = Field(default=0, ge=0)
    """Patches along one side of the frame, of which `size` is a multiple of twice as many; 0 is 8; `builtin`
    only."""
    dim: int = Field(default=96, ge=8)
    """Width of a token, at least 32; `builtin` only."""
    variant: str = "a"
    """Name of the random projections: two variants see one picture in two ways; `builtin` only."""


class TextEncoderSettings(EncoderSettings):
    """One frozen text encoder."""

    max_tokens: int = Field(default=0, ge=0)
    """Longest text in tokens, special tokens included; 0 is the model's own limit, and more is refused."""
    long_texts: Literal["pool", "cut"] = "pool"
    """What becomes of a text beyond that limit: `pool` encodes it in pieces of whole sentences and averages
    neighbouring tokens until they fit, `cut` drops its end. Either way it is counted."""
    trust_remote_code: bool = False
    """True lets the model's repository run its own Python code on this machine; CLIP and SigLIP need none."""
    dim: int = Field(default=128, ge=8)
    """Width of a token; `builtin` only."""
    pooled_dim: int = Field(default=256, ge=8)
    """Width of a pooled vector, the space that labels are compared in; `builtin` only."""

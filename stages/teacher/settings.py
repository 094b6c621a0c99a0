"""Settings of whatever writes the rationales, and of the rules that accept or reject them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stages.settings import Settings


class JudgeSettings(Settings):
    """The bounds of the rules in `stages.teacher.judge`."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """How often one picture is asked in all; what is still rejected after the last attempt stays rejected."""
    min_words: int = Field(default=5, ge=1)
    """A rationale with fewer words is rejected as too short."""
    max_words: int = Field(default=160, ge=2)
    """A rationale with more words is rejected as too long; CLIP's text encoder holds about 55 words."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self


class VllmSettings(Settings):
    """The in-process vLLM engine and its sampling."""

    model: str = Field(default="Qwen/Qwen2.5-VL-7B-Instruct", min_length=1)
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
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory the engine takes; without a GPU, of the machine's."""
    enforce_eager: bool = False
    """True skips compilation and CUDA graphs: starts faster, writes slower."""
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


class TeacherSettings(Settings):
    """What writes the rationales, from which prompt, against which contrast, under which rules."""

    engine: Literal["vllm", "template", "captions"] = "template"
    """`vllm` asks a multimodal language model; `template` realises the annotation without any model;
    `captions` imports the texts that Ov-SWiG's annotation files bring along."""
    prompt: str = Field(default="rationales", min_length=1)
    """Name of a prompt that ships with this package, or path of a `.yaml` file in the same form."""
    contrast_k: int = Field(default=5, ge=1)
    """The wrong verb and the wrong nouns are drawn from this many nearest by text; 1 takes the nearest."""
    max_chars: int = Field(default=600, ge=20)
    """Hard limit on one rationale's characters in the answer's schema; a longer text is cut off there."""
    pictures_per_part: int = Field(default=500, ge=1)
    """Finished pictures are written as one file of the store when this many are there."""
    seconds_per_part: float = Field(default=60, gt=0)
    """A file is also written this many seconds after the last one; bounds what a crash loses."""
    seed: int = 0
    """Decides the contrast and, with image and attempt, the sampling seed of every request."""
    judge: JudgeSettings = JudgeSettings()
    """The rules that accept or reject a rationale."""
    vllm: VllmSettings = VllmSettings()
    """Read where `engine` is `vllm`."""

    @property
    def max_attempts(self) -> int:
        """How often a picture is asked in all; captions stay what they are, so they are asked for once."""
        return 1 if self.engine == "captions" else self.judge.max_attempts

"""Settings of the judge: the rules, and the model that is asked where they find no fault."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.settings import Settings
from stages.teacher.engines.server_settings import ServerSettings
from stages.teacher.engines.vllm_settings import VllmSettings


class JudgeSettings(Settings):
    """Who accepts and rejects rationales, and how often a picture is asked about."""

    by: Literal["rules", "teacher", "vllm", "server", "template"] = "rules"
    """Who judges what the rules let pass: nobody else (`rules`), the model that wrote it (`teacher`), another
    model (`vllm`, `server`), or a comparison with the annotation's words that needs no model (`template`)."""
    prompt: str = Field(default="judge", min_length=1)
    """Name of a judge's prompt that ships with this package, or path of a `.yaml` file in the same form."""
    min_score: int = Field(default=3, ge=1, le=5)
    """A rationale to which the judging model gives fewer points than this, of 5, is rejected."""
    retries: int = Field(default=1, ge=0, le=10)
    """How often the judging model is asked again for a verdict that cannot be read."""
    pictures_at_once: int = Field(default=512, ge=1)
    """Where another model than the teacher judges: it gets the rationales of this many pictures at a time."""
    language: str = Field(default="en", pattern="^([a-z]{2})?$")
    """ISO 639-1 code of the language rationales must be in; empty takes any."""
    vllm: VllmSettings = VllmSettings()
    """Read where `by` is `vllm`; leave room beside the teacher with `gpu_memory_utilization`."""
    server: ServerSettings = ServerSettings()
    """Read where `by` is `server`."""
    max_attempts: int = Field(default=3, ge=1, le=20)
    """How often one picture is asked in all; what is still rejected after the last attempt stays rejected."""
    min_words: int = Field(default=5, ge=1)
    """A rationale with fewer words is rejected as too short."""
    max_words: int = Field(default=160, ge=2)
    """A rationale with more words is rejected as too long; CLIP's text encoder holds about 55 words."""

    @property
    def asks_model(self) -> bool:
        """Whether a language model of its own judges."""
        return self.by in ("vllm", "server")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self

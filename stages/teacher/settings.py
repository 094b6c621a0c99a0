"""Settings of whatever writes the rationales, and of the rules that accept or reject them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.settings import PathSetting, Settings
from stages.teacher.engines.ray_settings import RaySettings
from stages.teacher.engines.server_settings import ServerSettings
from stages.teacher.engines.vllm_settings import VllmSettings
from stages.teacher.judging.judge_settings import JudgeSettings

__all__ = ["JudgeSettings", "RaySettings", "ServerSettings", "TeacherSettings", "VllmSettings"]


class TeacherSettings(Settings):
    """What writes the rationales, from which prompt, against which contrast, under which rules."""

    engine: Literal["vllm", "server", "ray", "template", "captions", "jsonl"] = "template"
    """`vllm` asks a multimodal language model in this program; `server` one behind OpenAI-compatible
    endpoints; `ray` copies of an engine on a Ray cluster; `template` realises the annotation without any
    model; `captions` imports the texts that Ov-SWiG's annotation files bring, `jsonl` those of a file."""
    requests: Literal["together", "separate"] = "together"
    """`together` asks for a picture's rationales in one answer, so that the picture is read once; `separate`
    asks for each in a request of its own."""
    prompt: str = Field(default="rationales", min_length=1)
    """Name of a prompt that ships with this package, or path of a `.yaml` file in the same form."""
    contrast_k: int = Field(default=5, ge=1)
    """The wrong verb and the wrong nouns are drawn from this many nearest by text; 1 takes the nearest."""
    max_chars: int = Field(default=600, ge=20)
    """Hard limit on one rationale's characters in the answer's schema; a longer text is cut off there."""
    pictures_per_part: int = Field(default=500, ge=1)
    """Finished pictures are written as one file of the store when this many are there."""
    seconds_per_part: float = Field(default=300, gt=0)
    """A file is also written this many seconds after the last one: bounds what a crash loses, and how many
    files a slow teacher makes."""
    give_up_after: int = Field(default=100, ge=0)
    """Ends when the first this many pictures gave not one accepted rationale, before more is spent on a
    teacher that does not do its work; 0 never does."""
    seed: int = 0
    """Decides the contrast and, with image and attempt, the sampling seed of every request."""
    judge: JudgeSettings = JudgeSettings()
    """Who accepts or rejects a rationale."""
    vllm: VllmSettings = VllmSettings()
    """Read where `engine` is `vllm`, or `ray` with such workers."""
    server: ServerSettings = ServerSettings()
    """Read where `engine` is `server`."""
    ray: RaySettings = RaySettings()
    """Read where `engine` is `ray`."""
    jsonl: PathSetting | None = None
    """Read where `engine` is `jsonl`: one JSON object a line, with `image` and up to four rationales."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.engine == "jsonl" and self.jsonl is None:
            raise ValueError("engine jsonl needs teacher.jsonl, the file with the rationales")
        if self.judge.by == "teacher" and not self.asks_model:
            raise ValueError(
                f"judge.by teacher needs a language model as teacher, and engine is {self.engine}; "
                "choose rules or template, or another model: vllm, server"
            )
        return self

    @property
    def asks_model(self) -> bool:
        """Whether a language model writes, which may fail to obey a schema."""
        return self.engine in ("vllm", "server") or (self.engine == "ray" and self.ray.engine == "vllm")

    @property
    def imports(self) -> bool:
        """Whether the texts were written elsewhere, for a contrast that is not known here."""
        return self.engine in ("captions", "jsonl")

    @property
    def max_attempts(self) -> int:
        """How often a picture is asked in all; what is imported stays what it is, so it is read once."""
        return 1 if self.imports else self.judge.max_attempts

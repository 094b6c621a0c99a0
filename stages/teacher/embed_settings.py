"""Settings of the banks."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from cache.codec import StorageType
from stages.settings import Settings
from stages.teacher.embedding.frame_reader import DecodeIn
from stages.teacher.embedding.index_settings import IndexSettings
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings


class EmbedSettings(Settings):
    """Which encoders fill the banks, and how the banks are stored."""

    teacher_vision: VisionEncoderSettings = VisionEncoderSettings()
    """Frozen tower of the teacher; its tokens are read in training only."""
    student_vision: VisionEncoderSettings = VisionEncoderSettings()
    """Frozen encoder the student sees through, in training and ever after."""
    text: TextEncoderSettings = TextEncoderSettings()
    """Frozen text encoder of rationales and labels; it also says which verbs are near each other."""
    index: IndexSettings = IndexSettings()
    """How pooled vectors are indexed for `inspect search` and its like; training reads no index."""
    storage: StorageType = "bf16"
    """Number format of the banks: fp32, bf16, fp16, or int8 with one scale per token."""
    rows_per_shard: int = Field(default=1024, ge=1)
    """Pictures in one LMDB file; a killed run repeats at most this many."""
    mirrored: bool = False
    """True also writes a second view of each vision bank, its pictures mirrored left to right, for
    `train.mirror`: twice the time and the space of these banks."""
    decode_workers: int = Field(default=2, ge=1)
    """Threads or processes that read and resize pictures ahead of the encoder; no row depends on it."""
    decode_in: DecodeIn = "threads"
    """Threads share Python's lock, which Pillow lets go of: 3.2 ms of CPU a picture of SWiG, laid into 336
    pixels. Processes take 4.2 ms, of which 0.8 in the program itself, and a second or two to start for each
    bank: worth it beside a GPU, with many cores and pictures."""
    verb_templates: list[str] = Field(default=["{verb}", "a photo of someone {verb}", "{verb}: {definition}"])
    """Sentences for a verb, averaged; fields {verb}, {definition} (the sentence template where none)."""
    role_templates: list[str] = Field(default=["the {role} of {verb}"])
    """Sentences for a role of a verb, averaged; fields {role} and {verb}."""
    noun_templates: list[str] = Field(default=["{noun}", "a photo of {noun}"])
    """Sentences for a noun, averaged; field {noun}, its first gloss."""

    @model_validator(mode="after")
    def _small_student(self) -> Self:
        if self.student_vision.source == "vllm":
            raise ValueError(
                "student_vision.source is 'vllm', but the student sees through this encoder wherever it is "
                "used, and is there to do without the language model; take source transformers, and 'vllm' "
                "for teacher_vision"
            )
        return self

    @field_validator("verb_templates", "role_templates", "noun_templates")
    @classmethod
    def _usable(cls, templates: list[str]) -> list[str]:
        fields = {"verb": "", "definition": "", "role": "", "noun": ""}
        if not templates:
            raise ValueError("at least one sentence is needed")
        for template in templates:
            try:
                template.format(**fields)
            except (KeyError, IndexError, ValueError) as reason:
                raise ValueError(
                    f"{template!r} has an unknown field ({reason}); known: {', '.join(fields)}"
                ) from None
        return templates

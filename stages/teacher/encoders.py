"""Settings -> encoder."""

from __future__ import annotations

from stages.teacher.encoder import TextEncoder, VisionEncoder
from stages.teacher.encoder_settings import TextEncoderSettings, VisionEncoderSettings

BUILTIN_MAX_TOKENS = 77  # words; the built-in encoder has no limit of its own, so it takes CLIP's


def open_vision(settings: VisionEncoderSettings) -> VisionEncoder:
    """The vision encoder that the settings describe; its weights are read at the first `encode`."""
    if settings.source == "transformers":
        from stages.teacher.hf_vision import TransformersVision

        return TransformersVision(settings)
    from stages.teacher.builtin_vision import BuiltinVision

    return BuiltinVision(
        size=settings.size,
        grid=settings.grid,
        dim=settings.dim,
        variant=settings.variant,
        mode=settings.mode,
        batch_size=settings.batch_size,
    )


def open_text(settings: TextEncoderSettings) -> TextEncoder:
    """The text encoder that the settings describe; its weights are read at the first `encode`."""
    if settings.source == "transformers":
        from stages.teacher.hf_text import TransformersText

        return TransformersText(settings)
    from stages.teacher.builtin_text import BuiltinText

    return BuiltinText(
        dim=settings.dim,
        pooled_dim=settings.pooled_dim,
        max_tokens=settings.max_tokens or BUILTIN_MAX_TOKENS,
        batch_size=settings.batch_size,
    )

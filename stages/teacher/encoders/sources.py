"""Settings -> encoder."""

from __future__ import annotations

from collections.abc import Callable

from stages.teacher.encoders.encoder import TextEncoder, VisionEncoder
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.encoders.long_texts import PooledLongTexts

BUILTIN_MAX_TOKENS = 77  # words; the built-in encoder has no limit of its own, so it takes CLIP's
BUILTIN_SIZE, BUILTIN_GRID = 128, 8

Say = Callable[[str], None]


def open_vision(settings: VisionEncoderSettings, say: Say | None = None) -> VisionEncoder:
    """The vision encoder that the settings describe; its weights are read at the first `encode`.

    say  told where the device has no room for a batch
    """
    if settings.source == "transformers":
        from stages.teacher.encoders.hf_vision import TransformersVision

        return TransformersVision(settings, say)
    if settings.source == "vllm":
        from stages.teacher.encoders.vllm_encoders import VllmVision

        return VllmVision(settings)
    from stages.teacher.encoders.builtin_vision import BuiltinVision

    return BuiltinVision(
        size=settings.size or BUILTIN_SIZE,
        grid=settings.grid or BUILTIN_GRID,
        dim=settings.dim,
        variant=settings.variant,
        mode=settings.mode,
        batch_size=settings.batch_size,
    )


def open_text(settings: TextEncoderSettings, say: Say | None = None) -> TextEncoder:
    """The text encoder that the settings describe; its weights are read at the first `encode`.

    say  told where the device has no room for a batch
    """
    encoder = _open_text(settings, say)
    return PooledLongTexts(encoder) if settings.long_texts == "pool" else encoder


def _open_text(settings: TextEncoderSettings, say: Say | None) -> TextEncoder:
    if settings.source == "transformers":
        from stages.teacher.encoders.hf_text import TransformersText

        return TransformersText(settings, say)
    if settings.source == "vllm":
        from stages.teacher.encoders.vllm_encoders import VllmText

        return VllmText(settings)
    from stages.teacher.encoders.builtin_text import BuiltinText

    return BuiltinText(
        dim=settings.dim,
        pooled_dim=settings.pooled_dim,
        max_tokens=settings.max_tokens or BUILTIN_MAX_TOKENS,
        batch_size=settings.batch_size,
    )

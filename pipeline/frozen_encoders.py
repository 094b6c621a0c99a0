"""The encoders a student depends on: recorded when it is trained, opened again wherever it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cache.bank_header import RATIONALE_TEXT, STUDENT_VISION, read_header
from cache.errors import UserError
from cache.manifest import load_manifest
from cache.vectors import LABELS
from pipeline.workspace import Workspace
from stages.settings import changed_settings
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.label_store import label_marks
from stages.teacher.encoders.encoder import TextEncoder, VisionEncoder
from stages.teacher.encoders.encoder_settings import (
    EncoderSettings,
    TextEncoderSettings,
    VisionEncoderSettings,
)
from stages.teacher.encoders.sources import open_text, open_vision

TEMPLATES = ("verb_templates", "role_templates", "noun_templates")
# How fast an encoder runs and where, not what it gives: the machine that predicts decides it.
_OF_THE_MACHINE = {"device", "batch_size"}
_AGAIN = (
    "train again with this version: `mipd-pipe train-student --set run_dir=ANOTHER --set store_dir=STORE`"
)

AnySettings = TypeVar("AnySettings", bound=EncoderSettings)


def record_encoders(workspace: Workspace) -> dict[str, Any]:
    """What a checkpoint says of its two encoders: settings to open each by, and what it then must be.

    The text encoder is left out, and why is said, where the store's labels are not those that the settings
    make; the student then knows its own verbs alone.
    """
    embed = workspace.config.embed
    record: dict[str, Any] = {
        "vision": {
            "settings": _portable(embed.student_vision),
            "identity": read_header(workspace.store, STUDENT_VISION).encoder,
        }
    }
    current = load_manifest(workspace.store).current
    if RATIONALE_TEXT in current:
        identity = read_header(workspace.store, RATIONALE_TEXT).encoder
        marks = label_marks(workspace.data.vocabulary, identity, embed)
        if all(current.get(family) == marks[family] for family in LABELS):
            templates = {name: getattr(embed, name) for name in TEMPLATES}
            record["text"] = {"settings": _portable(embed.text), "identity": identity, "templates": templates}
            return record
    workspace.console.say(
        "note: the store's labels were not made with `embed.text` and the label templates of this "
        "configuration, so the checkpoint will predict its own verbs alone, not those of `--verbs FILE`"
    )
    return record


def encoder_device(device: str) -> str:
    """The student's device as the encoders name theirs: of accelerators they know CUDA alone."""
    return "cpu" if device == "mps" else device


def open_student_vision(facts: Mapping[str, Any], model: str, device: str) -> VisionEncoder:
    """The student's vision encoder as the checkpoint records it.

    model   folder or hub id where it lies elsewhere than at training; "" = as recorded
    device  `auto`, `cpu`, `cuda` or `cuda:N`

    Raises UserError where it is missing, or is another one.
    """
    record = _recorded(facts, "vision")
    encoder = open_vision(_settings(VisionEncoderSettings, record, model, device))
    _require_same("vision", record["identity"], encoder.identity(), "--vision-model")
    return encoder


def open_label_text(facts: Mapping[str, Any], model: str, device: str) -> tuple[TextEncoder, EmbedSettings]:
    """The text encoder of the labels and the prompt templates, as `open_student_vision` does it."""
    record = _recorded(facts, "text")
    encoder = open_text(_settings(TextEncoderSettings, record, model, device))
    _require_same("text", record["identity"], encoder.identity(), "--text-model")
    return encoder, EmbedSettings.model_validate(record["templates"])


def _portable(settings: EncoderSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude=_OF_THE_MACHINE)


def _recorded(facts: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    record: Mapping[str, Any] | None = facts.get("encoders", {}).get(kind)
    if record is None:
        raise UserError(
            f"the checkpoint does not record its {kind} encoder, so nothing can be encoded for it: it was "
            f"written by an earlier version, or from a store whose labels were made with other settings; "
            f"{_AGAIN}"
        )
    return record


def _settings(kind: type[AnySettings], record: Mapping[str, Any], model: str, device: str) -> AnySettings:
    """Settings for this machine: of a hub model the very commit, of any model the number format it had."""
    fields, identity = dict(record["settings"]), record["identity"]
    if model and fields["source"] == "builtin":
        raise UserError(
            f"the checkpoint uses the built-in encoder, which reads no model, but {model!r} is given as one; "
            "leave that option out"
        )
    if model:
        fields |= {"model": model, "revision": ""}
    elif identity.get("model", "folder") != "folder":
        fields["revision"] = identity["revision"]
    if "precision" in identity:
        fields["precision"] = identity["precision"]
    return kind.model_validate({**fields, "device": device})


def _require_same(kind: str, recorded: Mapping[str, Any], found: Mapping[str, Any], option: str) -> None:
    """Vectors of another encoder mean nothing to the student, also where their shape is the same.

    A local folder and the hub's copy of it cannot be told to be one, so whichever was used is needed.
    """
    changed = changed_settings(dict(recorded), dict(found))
    if changed:
        listed = "\n".join(f"  {line}" for line in changed)
        raise UserError(
            f"the {kind} encoder here is not the one the checkpoint was trained with (trained -> here):\n"
            f"{listed}\nGive the folder of the right one with {option} DIR, or install the version named"
        )

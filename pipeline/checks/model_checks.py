"""What `mipd-pipe doctor` finds out about the models a configuration names. The hub is never asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cache.errors import UserError
from pipeline.checks.finding import Finding
from pipeline.checks.model_files import count_elements, find_model, is_folder_name, is_offline
from pipeline.checks.needs import Needs
from stages.teacher.encoders import sources
from stages.teacher.encoders.encoder_settings import (
    EncoderSettings,
    TextEncoderSettings,
    VisionEncoderSettings,
)
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_hub import first_line
from stages.teacher.engines.vllm_settings import EXAMPLE, VllmSettings
from stages.teacher.engines.vlm_files import architecture, check_files

Facts = Mapping[str, Any]


def architectures(needs: Needs) -> list[str]:
    """The model classes of the models for vLLM that are on this machine, to look them up in vLLM."""
    names = []
    models = [(settings.model, settings.revision) for settings in needs.vllm.values()]
    models += [(one.model, one.revision) for one in needs.encoders.values() if one.source == "vllm"]
    for model, revision in models:
        try:
            checkpoint = find_model(model, revision, EXAMPLE)
            if checkpoint is not None:
                names.append(architecture(checkpoint.read_config()))
        except UserError:
            continue  # `check_vllm_model` says what is wrong
    return sorted(set(names))


def check_vllm_model(path: str, settings: VllmSettings, vllm: Facts | None) -> Iterator[Finding]:
    """Where the model is, its files, its weights, and whether vLLM has a working class for it.

    path  of the section that names it
    vllm  what `probe` brought back for vLLM and the architecture; None = it was not tried
    """
    checkpoint, finding = _find(path, settings.model, settings.revision)
    yield finding
    if checkpoint is None:
        return
    weak = not is_folder_name(settings.model)  # what is missing of a hub model may still be fetched
    yield _try(f"{path} tokenizer", settings.model, weak, lambda: _chat_files(checkpoint))
    yield _template(f"{path} chat template", checkpoint)
    yield _try(f"{path} weights", settings.model, weak, lambda: _weights(checkpoint))
    yield _architecture(path, checkpoint, vllm)


def check_encoder(
    path: str, settings: EncoderSettings, can_import: bool, vllm: Facts | None = None
) -> Iterator[Finding]:
    """Where the model is, its weights, and whether the encoder can be built from its configuration.

    can_import  torch and transformers can be imported
    vllm        as in `check_vllm_model`, for an encoder that vLLM runs
    """
    checkpoint, finding = _find(path, settings.model, settings.revision)
    yield finding
    if checkpoint is None:
        return
    weak = not is_folder_name(settings.model)
    yield _try(f"{path} weights", settings.model, weak, lambda: _weights(checkpoint))
    if can_import:
        yield _try(f"{path} encoder", settings.model, weak, lambda: _open_encoder(checkpoint, settings))
    else:
        found = "not tried, because torch or transformers cannot be imported"
        yield Finding(f"{path} encoder", "warn", found, "mend these first")
    if settings.source == "vllm":
        yield _architecture(path, checkpoint, vllm)


def _find(path: str, model: str, revision: str) -> tuple[Checkpoint | None, Finding]:
    name = f"{path}.model"
    try:
        checkpoint = find_model(model, revision)
    except UserError as fault:
        return None, Finding(name, "missing", str(fault), f"--set {path}.model=DIR")
    if checkpoint is None:
        found, offline = f"{model} is not in the local model cache", is_offline()
        found += ", and HF_HUB_OFFLINE is set" if offline else ": the run will fetch it, which was not tried"
        return None, Finding(name, "missing" if offline else "warn", found, _download(model, revision))
    where = "folder" if is_folder_name(model) else f"hub model {model}, cached in"
    return checkpoint, Finding(name, "ok", f"{where} {checkpoint.folder}")


def _download(model: str, revision: str = "") -> str:
    return f"hf download {model}" + (f" --revision {revision}" if revision else "")


def _try(name: str, model: str, weak: bool, look: Callable[[], str]) -> Finding:
    """The finding of a look that returns what it found, or raises what is wrong with the model."""
    try:
        return Finding(name, "ok", look())
    except UserError as fault:
        if weak:
            return Finding(name, "warn", f"not all in the local model cache ({fault})", _download(model))
        return Finding(name, "missing", str(fault), "mend the folder as it says, or name another model")
    except Exception as fault:  # the parsers of transformers raise whatever they like
        return Finding(name, "missing", f"cannot be read ({first_line(fault)})", "download the model again")


def _chat_files(checkpoint: Checkpoint) -> str:
    check_files(checkpoint, has_own_template=True)
    return "tokenizer and picture processor are there"


def _template(name: str, checkpoint: Checkpoint) -> Finding:
    try:
        check_files(checkpoint, has_own_template=False)
    except UserError:
        found = "none in the model's files; vLLM brings one for some kinds of model, else it refuses this one"
        mend = "choose the -Instruct or -Chat version, or put its chat_template.jinja beside config.json"
        return Finding(name, "warn", found, mend)
    return Finding(name, "ok", "there")


def _weights(checkpoint: Checkpoint) -> str:
    elements = count_elements(checkpoint)
    formats = ", ".join(sorted(elements))
    return f"safetensors, {sum(elements.values()) / 1e9:.3g} billion numbers ({formats})"


def _architecture(path: str, checkpoint: Checkpoint, vllm: Facts | None) -> Finding:
    name = f"{path} architecture"
    try:
        wanted = architecture(checkpoint.read_config())
    except UserError as reason:
        return Finding(name, "missing", str(reason), "download the model again")
    if vllm is None or vllm["fault"]:
        found = f"{wanted}: not tried, because vLLM cannot be imported"
        return Finding(name, "warn", found, "mend vLLM first")
    if fault := vllm["architectures"][wanted]:
        mend = f"mend what it names, or choose another model: --set {path}.model=DIR"
        return Finding(name, "missing", fault.removesuffix("; "), mend)
    return Finding(name, "ok", f"{wanted} can be loaded by vLLM {vllm['version']}")


def _open_encoder(checkpoint: Checkpoint, settings: EncoderSettings) -> str:
    here = {"model": str(checkpoint.folder), "revision": ""}
    if isinstance(settings, VisionEncoderSettings):
        vision = sources.open_vision(settings.model_copy(update=here))
        vision.identity()  # reads of every tensor that is used, so that a file of other weights shows
        return f"{vision.geometry.tokens} tokens of {vision.dim} a picture"
    assert isinstance(settings, TextEncoderSettings)
    text = sources.open_text(settings.model_copy(update=here))
    text.identity()
    return f"up to {text.max_tokens} tokens of {text.dim}, pooled to {text.pooled_dim}"

"""Which of the optional things a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config import Config
from stages.teacher.encoders.encoder_settings import EncoderSettings
from stages.teacher.engines.server_settings import ServerSettings
from stages.teacher.engines.vllm_settings import VllmSettings


@dataclass(frozen=True, slots=True)
class Needs:
    """Every mapping goes from the dotted path of a section to its settings.

    vllm      models that vLLM runs
    servers   models behind endpoints
    encoders  pretrained encoders, read by transformers or run by vLLM
    ray       workers run on a Ray cluster
    gpu       settings that name a GPU, as ``train.device=cuda``
    """

    vllm: Mapping[str, VllmSettings]
    servers: Mapping[str, ServerSettings]
    encoders: Mapping[str, EncoderSettings]
    ray: bool
    gpu: tuple[str, ...]

    @property
    def with_vllm(self) -> bool:
        return bool(self.vllm) or any(tower.source == "vllm" for tower in self.encoders.values())


def needs_of(config: Config) -> Needs:
    teacher, judge, embed = config.teacher, config.teacher.judge, config.embed
    on_ray = teacher.engine == "ray"
    vllm: dict[str, VllmSettings] = {}
    servers: dict[str, ServerSettings] = {}
    if teacher.engine == "vllm" or (on_ray and teacher.ray.engine == "vllm"):
        vllm["teacher.vllm"] = teacher.vllm
    if teacher.engine == "server":
        servers["teacher.server"] = teacher.server
    if judge.by == "vllm":
        vllm["teacher.judge.vllm"] = judge.vllm
    if judge.by == "server":
        servers["teacher.judge.server"] = judge.server
    towers: dict[str, EncoderSettings] = {
        "embed.teacher_vision": embed.teacher_vision,
        "embed.student_vision": embed.student_vision,
        "embed.text": embed.text,
    }
    devices = {"train": config.train.device, **{path: tower.device for path, tower in towers.items()}}
    return Needs(
        vllm=vllm,
        servers=servers,
        encoders={path: tower for path, tower in towers.items() if tower.source != "builtin"},
        ray=on_ray,
        gpu=tuple(f"{path}.device={name}" for path, name in devices.items() if name.startswith("cuda")),
    )

"""The engines that a configuration names. Language models are loaded when they are first asked."""

from __future__ import annotations

from functools import partial

from pipeline.workspace import Workspace
from stages.data.vocabulary import Vocabulary
from stages.teacher.engines.captions import CaptionsEngine
from stages.teacher.engines.engine import Engine
from stages.teacher.engines.engine_worker import Say
from stages.teacher.engines.server_settings import ServerSettings
from stages.teacher.engines.template import TemplateEngine
from stages.teacher.engines.vllm_settings import VllmSettings


def make_engine(workspace: Workspace) -> Engine:
    """The engine that writes."""
    settings = workspace.config.teacher
    if settings.imports:
        return CaptionsEngine(settings.engine)
    return _engine(workspace, settings.engine, settings.vllm, settings.server)


def make_judge(workspace: Workspace) -> Engine | None:
    """The engine that judges; None where the rules alone do, or the one that writes."""
    settings = workspace.config.teacher.judge
    if settings.by in ("rules", "teacher"):
        return None
    return _engine(workspace, settings.by, settings.vllm, settings.server)


def _engine(workspace: Workspace, name: str, vllm: VllmSettings, server: ServerSettings) -> Engine:
    max_pixels, say = workspace.config.data.max_image_pixels, workspace.console.say
    if name == "template":
        return TemplateEngine(workspace.data.vocabulary)
    if name == "server":
        from stages.teacher.engines.server_engine import ServerEngine

        return ServerEngine(server, max_pixels, say)
    if name == "ray":
        return _ray_engine(workspace)
    from stages.teacher.engines.vllm_engine import open_vllm

    return open_vllm(vllm, max_pixels, say)


def _ray_engine(workspace: Workspace) -> Engine:
    from stages.teacher.engines.ray_engine import RayEngine

    settings, config = workspace.config.teacher, workspace.config
    if settings.ray.engine == "template":
        return RayEngine(partial(_template, workspace.data.vocabulary), settings.ray, workspace.console.say)
    from stages.teacher.engines.vllm_engine import VllmEngine

    make = partial(VllmEngine, settings.vllm, config.data.max_image_pixels)
    return RayEngine(make, settings.ray, workspace.console.say)


def _template(vocabulary: Vocabulary, say: Say) -> Engine:
    return TemplateEngine(vocabulary)

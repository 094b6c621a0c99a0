"""Stage one from a configuration: builds what the settings ask for and runs it."""

from __future__ import annotations

from contextlib import closing

from pipeline.workspace import Workspace
from stages.teacher import encoders
from stages.teacher.contrast import ContrastChooser, nouns_by_role
from stages.teacher.embed import Embedder, Encoders
from stages.teacher.encoder import TextEncoder
from stages.teacher.engine import Engine
from stages.teacher.generate import Generator
from stages.teacher.label_texts import encode_labels, label_texts


def generate_rationales(workspace: Workspace) -> None:
    """`mipd-pipe generate-rationales`."""
    config = workspace.config
    with workspace.stage("generate-rationales"), closing(make_engine(workspace)) as engine:
        chooser = contrast_chooser(workspace, encoders.open_text(config.embed.text))
        generator = Generator(
            workspace.data,
            workspace.ledger,
            engine,
            chooser,
            config.teacher,
            workspace.store,
            workspace.console,
            workspace.producer,
        )
        summary = generator.run(config.max_failure_rate)
    workspace.console.say(
        f"{summary.asked} pictures asked: {summary.rationales_accepted} rationales accepted, "
        f"{summary.rationales_rejected} rejected; {summary.failed} pictures failed"
    )


def embed_teacher(workspace: Workspace) -> None:
    """`mipd-pipe embed-teacher`."""
    config = workspace.config
    with workspace.stage("embed-teacher"):
        frozen = Encoders(
            teacher_vision=encoders.open_vision(config.embed.teacher_vision),
            student_vision=encoders.open_vision(config.embed.student_vision),
            text=encoders.open_text(config.embed.text),
        )
        embedder = Embedder(
            workspace.data,
            workspace.ledger,
            frozen,
            config.embed,
            workspace.store,
            workspace.console,
            workspace.producer,
        )
        embedder.run(config.max_failure_rate)


def make_engine(workspace: Workspace) -> Engine:
    """The engine the settings name; a language model is loaded only when it is first asked."""
    settings = workspace.config.teacher
    if settings.engine == "template":
        from stages.teacher.template import TemplateEngine

        return TemplateEngine(workspace.data.vocabulary)
    if settings.engine == "captions":
        from stages.teacher.captions import CaptionsEngine

        return CaptionsEngine()
    from stages.teacher.vllm_engine import VllmEngine

    return VllmEngine(settings.vllm, workspace.config.data.max_image_pixels)


def contrast_chooser(workspace: Workspace, encoder: TextEncoder) -> ContrastChooser:
    """Contrasts among the seen verbs, near each other in the text space that labels use."""
    data, config = workspace.data, workspace.config
    texts = label_texts(data.vocabulary, config.embed)
    return ContrastChooser(
        data.vocabulary,
        encode_labels(texts["verbs"], encoder),
        allowed={verb for verb, subset in data.subset_of.items() if subset != "unseen"},
        role_nouns=nouns_by_role(sample for sample in data.samples if sample.split == "train"),
        k=config.teacher.contrast_k,
        seed=config.teacher.seed,
        noun_vectors=encode_labels(texts["nouns"], encoder),
    )

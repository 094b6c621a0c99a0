"""`mipd-pipe export-student`: a student as ONNX graphs, proven equal and measured before it appears."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.atomic import TEMPORARY, disk_fault, sync_folder
from cache.errors import UserError
from pipeline.checks.checkpoint_checks import other_data_notes
from pipeline.exporting.export_figures import dev_figures, latency_of
from pipeline.exporting.licences import licence_of
from pipeline.exporting.model_card import figure_lines, model_card
from pipeline.frozen_encoders import open_student_vision
from pipeline.result import Result
from pipeline.stage_two import evaluation_data
from pipeline.workspace import Workspace
from stages.student.exporting.export_folder import CARD, FACTS, VISION, save_facts, save_labels
from stages.student.exporting.onnx_graphs import require_exporter, write_student_graphs, write_vision_graph
from stages.student.exporting.onnx_student import OnnxStudent, OnnxVision
from stages.student.exporting.parity import differences, largest_difference, require_parity
from stages.student.exporting.quantise import quantise
from stages.student.reading.dataset import StoreDataset
from stages.student.training.checkpoint import BEST, TrainedStudent, load_student
from stages.teacher.encoders.hf_vision import TransformersVision

PARITY_PICTURES = 4


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What one call of `export-student` is to do.

    out           folder to write; None = student/export in the run folder, student/export-int8 with `int8`
    checkpoint    None = the run's best
    with_vision   write the vision encoder too
    int8          quantise the student's weights
    measure       measure the figures on the dev set; they need the run's data and store
    runs          calls that the latency is taken of
    vision_model  where the vision encoder lies, "" = where it lay at training
    """

    out: Path | None = None
    checkpoint: Path | None = None
    with_vision: bool = False
    int8: bool = False
    measure: bool = True
    runs: int = 200
    vision_model: str = ""


def export_student(workspace: Workspace, request: ExportRequest) -> Result:
    """Writes the folder of `stages.student.exporting.export_folder`, all at once.

    Raises UserError where something needed is missing, FindingsError where the graphs say something else than
    PyTorch does; neither leaves anything behind.
    """
    require_exporter()
    path = request.checkpoint or workspace.config.run_dir / "student" / BEST
    name = "export-int8" if request.int8 else "export"
    out = request.out or workspace.config.run_dir / "student" / name
    _require_free(out)
    trained = load_student(path)
    encoder = _pretrained_vision(trained, request.vision_model) if request.with_vision else None
    dataset = _measured_on(workspace, trained, request)
    with _appearing(out) as folder:
        facts = _fill(workspace, request, trained, encoder, dataset, folder)
        save_facts(folder, facts)
        (folder / CARD).write_text(model_card(facts), encoding="utf-8")
    return Result(_summary(out, facts), {"folder": str(out), **_told(facts)})


def _fill(
    workspace: Workspace,
    request: ExportRequest,
    trained: TrainedStudent,
    encoder: TransformersVision | None,
    dataset: StoreDataset | None,
    folder: Path,
) -> dict[str, Any]:
    """Writes the graphs and labels, proves and measures them; what `export.json` says of it."""
    say, tokens = workspace.console.say, _tokens(trained, dataset)
    say("writing the student's graphs")
    write_student_graphs(trained.student, trained.labels.width, trained.facts["vision_dim"], folder)
    save_labels(folder, trained.labels, trained.student.label_centres)
    parity = differences(trained.student, OnnxStudent(folder), tokens, trained.labels)
    require_parity(parity, "student")
    facts: dict[str, Any] = {
        "checkpoint": trained.facts,
        "producer": workspace.producer,
        "quantised": request.int8,
        "parity": {"student": parity},
        "figures": None,
        "licences": _licences(trained.facts),
    }
    if encoder is not None:
        say("writing the vision encoder's graph")
        facts["parity"]["vision"] = _write_vision(encoder, folder)
    if request.int8:
        before, after = quantise(folder)
        changed = differences(trained.student, OnnxStudent(folder), tokens, trained.labels)
        facts["int8"] = {"bytes_before": before, "bytes_after": after, "differences": changed}
    if dataset is not None:
        facts["figures"] = dev_figures(workspace, trained, dataset, folder)._asdict()
        facts["measured_on"] = workspace.data.fingerprint
    facts["latency"] = latency_of(trained, tokens, folder, request.runs)
    return facts


def _measured_on(
    workspace: Workspace, trained: TrainedStudent, request: ExportRequest
) -> StoreDataset | None:
    """The dev set; None, and why is said, where it is not there and need not be."""
    if not request.measure and request.int8:
        raise UserError(
            "--int8 changes what the student says, and --no-measure would not say by how much; leave out one"
        )
    if not request.measure:
        return None
    try:
        dataset = evaluation_data(workspace, trained.facts, "dev")
        for note in other_data_notes(workspace, trained.facts, "dev"):
            workspace.console.say(note)
        return dataset
    except UserError as reason:
        if request.int8:
            raise UserError(
                f"--int8 is measured on the dev set of the student's data, which is not to be had: {reason}"
            ) from None
        workspace.console.say(f"note: no figures are measured, for there is no dev set: {reason}")
        return None


def _tokens(trained: TrainedStudent, dataset: StoreDataset | None) -> Tensor:
    """[B, Q, Ds] of a few dev pictures; drawn at random, always the same, where there are none."""
    if dataset is not None:
        return dataset.read(range(min(PARITY_PICTURES, len(dataset)))).vision.float()
    shape = PARITY_PICTURES, trained.student.geometry.tokens, trained.facts["vision_dim"]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _pretrained_vision(trained: TrainedStudent, model: str) -> TransformersVision:
    encoder = open_student_vision(trained.facts, model, "cpu")
    if not isinstance(encoder, TransformersVision):
        raise UserError(
            "--with-vision: the built-in vision encoder is code of mipd-pipe without weights, and no "
            "graph can be made of it; leave --with-vision out: `predict --checkpoint EXPORT` brings that "
            "encoder along"
        )
    return encoder


def _write_vision(encoder: TransformersVision, folder: Path) -> dict[str, float]:
    module, geometry = encoder.as_module(), encoder.geometry
    write_vision_graph(module, geometry, folder)
    shape = PARITY_PICTURES, geometry.size, geometry.size, 3
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with torch.inference_mode():
        ours = module(torch.from_numpy(frames))
    theirs = torch.from_numpy(OnnxVision(folder / VISION, geometry, encoder.dim).encode(frames))
    found = {"tokens": largest_difference(ours, theirs)}
    require_parity(found, "vision encoder")
    return found


def _licences(facts: Mapping[str, Any]) -> dict[str, str]:
    return {kind: licence_of(record) for kind, record in facts.get("encoders", {}).items()}


def _require_free(out: Path) -> None:
    if out.exists() and not (out / FACTS).is_file():
        raise UserError(
            f"{out} exists and is no export, so it is not replaced; give a new folder with --out, or move it"
        )


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place once it is whole; an earlier export goes then."""
    folder = out.with_name(f"{out.name}{TEMPORARY}new")
    earlier = out.with_name(f"{out.name}{TEMPORARY}old")
    for leftover in (folder, earlier):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
        if out.exists():
            out.rename(earlier)
        folder.rename(out)
        sync_folder(out.parent)
        shutil.rmtree(earlier, ignore_errors=True)
    except BaseException as reason:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(reason, OSError):
            raise disk_fault(reason, out) from reason
        raise


def _summary(out: Path, facts: Mapping[str, Any]) -> str:
    """What was written, how near to PyTorch it is, how good, how fast."""
    worst = {kind: max(found.values()) for kind, found in facts["parity"].items()}
    lines = [f"export      {out}"]
    lines += [f"parity      {kind}: largest difference {value:.2g}" for kind, value in worst.items()]
    if "int8" in facts:
        small = facts["int8"]
        lines.append(f"int8        {small['bytes_before']} -> {small['bytes_after']} bytes of graphs")
    latency = facts["latency"]
    for kind in ("student", "vision"):
        if kind in latency:
            shares = "  ".join(f"{name} {value:.2f} ms" for name, value in latency[kind].items())
            lines.append(f"latency     {kind}, one picture, threads: {latency['threads']}: {shares}")
    if facts["figures"]:
        lines += ["", *figure_lines(facts["figures"])]
    return "\n".join(lines)


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: facts[name] for name in ("quantised", "parity", "int8", "figures", "latency") if name in facts
    }

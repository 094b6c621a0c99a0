"""An export says what the student says, is whole or absent, and tells what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cache.errors import FindingsError, UserError
from pipeline.config import Config
from pipeline.exporting.export_student import ExportRequest, export_student
from pipeline.exporting.licences import licence_of
from pipeline.exporting.model_card import model_card
from pipeline.predict import PredictRequest, predict
from pipeline.result import Result
from pipeline.workspace import Workspace
from stages.reporter import SilentReporter
from stages.student.exporting import onnx_graphs
from stages.student.exporting.export_folder import open_export
from stages.student.exporting.onnx_student import OnnxVision
from stages.student.reading.ready import open_student
from stages.student.training.checkpoint import BEST, load_student, save_student
from stages.teacher.encoders.encoder_settings import VisionEncoderSettings
from stages.teacher.encoders.hf_vision import TransformersVision
from tests.tiny_encoders import build_clip


@pytest.fixture(scope="module")
def plain(trained: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained student in fp32; tests must not change it.

    The one export by torch, which needs seconds whatever the size of the student; the others take its graphs.
    """
    folder = tmp_path_factory.mktemp("plain") / "export"
    export_student(Workspace(trained), ExportRequest(out=folder, measure=False, runs=3))
    return folder


@pytest.fixture(scope="module")
def graphs_of(plain: Path) -> Callable[..., None]:
    """In place of torch's exporter: the graphs it wrote."""

    def copied(student: Any, label_dim: int, vision_dim: int, folder: Path) -> None:
        for path in plain.glob("*.onnx"):
            shutil.copy(path, folder)

    return copied


WRITER = "pipeline.exporting.export_student.write_student_graphs"


@pytest.fixture(scope="module")
def exported(graphs_of: Callable[..., None], trained: Config) -> tuple[Path, Result]:
    """The same in int8, and what the command told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WRITER, graphs_of)
        result = export_student(Workspace(trained), ExportRequest(int8=True, runs=3))
    return trained.run_dir / "student" / "export-int8", result


def answers(config: Config, checkpoint: Path, pictures: Sequence[Path], **options: Any) -> list[Any]:
    lines: list[Any] = []
    request = PredictRequest([str(path) for path in pictures], checkpoint=checkpoint, **options)
    predict(config, request, SilentReporter(), lambda line: lines.append(json.loads(line)))
    return lines


def assert_alike(a: Any, b: Any) -> None:
    """Equal but for the last digit that is told: 0.0001 of a probability, 0.1 pixel."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_alike(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_alike(one, other)
    else:
        assert a == (pytest.approx(b, abs=0.11 if isinstance(a, float) and a > 1 else 2e-4))


def test_an_export_predicts_the_same_json_as_its_checkpoint(
    trained: Config, plain: Path, tmp_path: Path
) -> None:
    pictures = sorted((trained.data.root / "images_512").iterdir())[:5]
    best = trained.run_dir / "student" / BEST
    assert_alike(answers(trained, plain, pictures), answers(trained, best, pictures))
    verbs = tmp_path / "mine.yaml"
    verbs.write_text("- прыгать: [кто]\n- jumping: [agent, obstacle]\n")
    own = answers(trained, plain, pictures, verbs=verbs)
    assert_alike(own, answers(trained, best, pictures, verbs=verbs))
    assert {verb["verb"] for verb in own[0]["verbs"]} == {"прыгать", "jumping"}


def test_centred_labels_and_raised_verbs_are_exported_too(
    trained: Config, graphs_of: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lie beside the graphs, which are the same: parity alone would fail without them."""
    monkeypatch.setattr(WRITER, graphs_of)
    kept = load_student(trained.run_dir / "student" / BEST)
    unseen = torch.arange(len(kept.labels.verb)) % 2
    labels = replace(kept.labels, verb_bias=3.0 * unseen)
    kept.student.label_centres.copy_(kept.labels.verb[:3] / 2)
    save_student(tmp_path / BEST, kept.student, labels, kept.facts)
    request = ExportRequest(tmp_path / "export", tmp_path / BEST, measure=False, runs=1)
    export_student(Workspace(trained), request)
    pictures = sorted((trained.data.root / "images_512").iterdir())[:3]
    told = answers(trained, tmp_path / "export", pictures)
    assert_alike(told, answers(trained, tmp_path / BEST, pictures))
    plain = answers(trained, trained.run_dir / "student" / BEST, pictures)
    assert [one["verbs"][0] for one in told] != [one["verbs"][0] for one in plain]


def test_parity_is_held_for_any_number_of_pictures_verbs_and_nouns(
    exported: tuple[Path, Result],
) -> None:
    parity = exported[1].data["parity"]["student"]
    assert {"verb_logits", "noun_logits", "open_logits", "boxes", "box_logits", "label_noun"} <= set(parity)
    assert max(parity.values()) <= 1e-4


def test_int8_is_smaller_and_its_change_of_figures_is_told(exported: tuple[Path, Result]) -> None:
    folder, result = exported
    small, figures = result.data["int8"], result.data["figures"]
    assert small["bytes_after"] < small["bytes_before"]
    assert max(small["differences"].values()) > 1e-4, "it is another student, and is measured as one"
    assert figures["pytorch"]["split"] == figures["exported"]["split"] == "dev"
    there = figures["exported"]["subsets"]["all"]["top1"]["verb"]
    change = there - figures["pytorch"]["subsets"]["all"]["top1"]["verb"]
    assert f"{there:.2f} ({change:+.2f})" in result.text
    card = (folder / "README.md").read_text()
    assert f"{there:.2f} ({change:+.2f})" in card


def test_the_card_tells_where_its_figures_are_of_other_data(
    exported: tuple[Path, Result], trained: Config
) -> None:
    facts = json.loads((exported[0] / "export.json").read_text())
    own = Workspace(trained).data.fingerprint
    assert facts["measured_on"] == own
    told = "These are of another data set than the student was trained on"
    assert told not in model_card(facts)
    assert f"{told}: `e1se`." in model_card({**facts, "measured_on": "e1se"})


def test_the_card_tells_data_split_latency_and_licences(
    exported: tuple[Path, Result], trained: Config
) -> None:
    folder, result = exported
    card = (folder / "README.md").read_text()
    data = Workspace(trained).data
    unseen = sum(subset == "unseen" for subset in data.subset_of.values())
    assert data.fingerprint in card
    assert f"{unseen} unseen" in card
    assert f"| student | {result.data['latency']['student']['p50']} |" in card
    assert "| vision encoder | Apache-2.0, part of mipd-pipe |" in card
    assert "vision.onnx" not in card


def test_an_earlier_export_is_replaced_and_anything_else_is_not(
    plain: Path,
    graphs_of: Callable[..., None],
    trained: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WRITER, graphs_of)
    shutil.copytree(plain, tmp_path / "export")
    (tmp_path / "export" / "vision.onnx").write_text("of an export with more parts")
    export_student(Workspace(trained), ExportRequest(tmp_path / "export", measure=False, runs=1))
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert names == {path.name for path in plain.iterdir()}
    assert not open_export(tmp_path / "export").has_vision
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine exists and is no export, so it is not replaced"):
        export_student(Workspace(trained), ExportRequest(out=tmp_path / "mine"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "mine"]
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_graphs_that_say_something_else_are_not_written(
    trained: Config, tmp_path: Path, graphs_of: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student that is exported differs by a hair from the one it is compared with."""

    def altered(student: Any, *arguments: Any) -> None:
        graphs_of(student, *arguments)
        with torch.no_grad():
            student.box_head[-1].bias += 0.01

    monkeypatch.setattr(WRITER, altered)
    with pytest.raises(FindingsError, match=r"exported student differs from PyTorch's by 0\.00\d+ in boxes"):
        export_student(Workspace(trained), ExportRequest(out=tmp_path / "out", measure=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "situate.onnx").write_bytes(b"x"), "situate.onnx is not the file that was exported"),
        (lambda f: (f / "labels.onnx").unlink(), "lacks labels.onnx; copy the whole folder, or export the"),
        (lambda f: (f / "export.json").unlink(), "is a folder without export.json, so it is no exported"),
        (lambda f: (f / "export.json").write_text("{"), "export.json cannot be read"),
        (
            lambda f: (f / "export.json").write_text('{"format": 1}'),
            "has export format 1; this version reads format 2",
        ),
    ],
)
def test_a_damaged_export_is_named(
    plain: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(plain, folder)
    assert open_export(folder).has_vision is False
    spoil(folder)
    with pytest.raises(UserError) as caught:
        open_student(folder, "auto")
    assert message in str(caught.value)


def test_what_cannot_be_had_is_refused_before_it_is_begun(
    trained: Config, small_config: Callable[..., Config], plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="an export runs on the CPU here; leave --device out"):
        open_student(plain, "cuda")
    with pytest.raises(UserError, match="--no-measure would not say by how much; leave out one"):
        export_student(Workspace(trained), ExportRequest(tmp_path / "a", int8=True, measure=False))
    nowhere = Workspace(small_config(tmp_path / "no-run", f"data.root={tmp_path}/no-data"))
    best = trained.run_dir / "student" / BEST
    with pytest.raises(UserError, match="--int8 is measured on the dev set of the student's data, which"):
        export_student(nowhere, ExportRequest(tmp_path / "a", checkpoint=best, int8=True))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graphs, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match="export needs no_such_package, not installed here: `pip install"):
        onnx_graphs.require_exporter()


# --- the vision encoder ------------------------------------------------------------------------------------


def test_a_pretrained_vision_encoder_is_exported_with_its_preparation(tmp_path: Path) -> None:
    encoder = TransformersVision(
        VisionEncoderSettings(source="transformers", model=str(build_clip(tmp_path / "clip")), device="cpu")
    )
    module = encoder.as_module()
    assert isinstance(module, nn.Module)
    onnx_graphs.write_vision_graph(module, encoder.geometry, tmp_path)
    frames = torch.randint(0, 256, (5, 24, 24, 3), dtype=torch.uint8).numpy()
    theirs = OnnxVision(tmp_path / "vision.onnx", encoder.geometry, encoder.dim).encode(frames)
    assert abs(theirs - encoder.encode(frames)).max() < 1e-4
    assert theirs.shape == (5, 10, 16)


def test_the_built_in_encoder_has_no_graph(
    trained: Config, graphs_of: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WRITER, graphs_of)
    with pytest.raises(UserError, match="--with-vision: the built-in vision encoder is code of mipd-pipe"):
        export_student(Workspace(trained), ExportRequest(tmp_path / "a", with_vision=True, measure=False))


def test_a_licence_is_told_as_the_models_own_card_states_it(tmp_path: Path) -> None:
    folder = build_clip(tmp_path / "clip")
    record = {"settings": {"source": "transformers", "model": str(folder), "revision": ""}}
    assert licence_of(record) == f"not stated in the files of {folder}; see where it was published"
    (folder / "README.md").write_text("---\ntags:\n- vision\nlicense: mit\n---\n# A model\n")
    assert licence_of(record) == f"mit, as the model card of {folder} says"
    (folder / "README.md").write_text("# A model\nlicense: mit\n---\n")
    assert "not stated" in licence_of(record)

"""Pictures of the user's own: from a checkpoint and the vision encoder alone, by the bank's own path."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from cache.errors import FindingsError, UserError
from pipeline import stage_two
from pipeline.config import Config
from pipeline.open_vocabulary import open_vocabulary
from pipeline.predict import PredictRequest, predict
from pipeline.workspace import Workspace
from stages.reporter import SilentReporter
from stages.student.reading.dataset import StoreDataset
from stages.student.training.checkpoint import BEST, load_student
from stages.student.training.tensor_file import load_tensors, save_tensors


@dataclass
class Heard(SilentReporter):
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)


@dataclass
class Asker:
    """Predicts with a trained student; whatever the configuration names beside it is not there."""

    config: Config
    checkpoint: Path
    heard: Heard = field(default_factory=Heard)
    answers: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, *pictures: object, **options: Any) -> list[dict[str, Any]]:
        self.heard, self.answers = Heard(), []
        request = PredictRequest(
            [str(picture) for picture in pictures], **{"checkpoint": self.checkpoint, **options}
        )
        predict(self.config, request, self.heard, lambda line: self.answers.append(json.loads(line)))
        return self.answers


@pytest.fixture
def asker(trained: Config, small_config: Callable[..., Config], tmp_path: Path) -> Asker:
    elsewhere = small_config(tmp_path / "no-run", f"data.root={tmp_path}/no-data")
    return Asker(elsewhere, trained.run_dir / "student" / BEST)


@pytest.fixture
def evaluated(trained: Config) -> dict[str, dict[str, Any]]:
    rows = pl.read_parquet(trained.run_dir / "predictions.parquet").iter_rows(named=True)
    return {row["image"]: row for row in rows}


def picture_of(config: Config, image: str) -> Path:
    return config.data.root / "images_512" / image


def test_a_picture_of_the_data_set_is_predicted_as_it_is_evaluated(
    trained: Config, asker: Asker, evaluated: dict[str, dict[str, Any]]
) -> None:
    answers = asker.ask(*(picture_of(trained, image) for image in evaluated), top=48)
    for answer, row in zip(answers, evaluated.values(), strict=True):
        told = {verb["verb"]: verb for verb in answer["verbs"]}
        for verb, probability in zip(row["top_verbs"], row["top_probabilities"], strict=True):
            assert told[verb]["probability"] == pytest.approx(probability, abs=2e-3)
        roles = told[row["verb"]]["roles"]
        assert [role["role"] for role in roles] == row["roles"]
        nouns = [role["noun"] or "blank" for role in roles]
        assert nouns == row["nouns"]
        for role, box in zip(roles, row["boxes"], strict=True):
            assert (role["box"] is None) == (box is None)
            assert box is None or role["box"] == pytest.approx(box, abs=1.0)


def test_verbs_are_told_best_first_and_as_many_as_asked_for(trained: Config, asker: Asker) -> None:
    (answer,) = asker.ask(sorted((trained.data.root / "images_512").iterdir())[0], top=3)
    shares = [verb["probability"] for verb in answer["verbs"]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    for verb in answer["verbs"]:
        for role in verb["roles"]:
            assert 0 < role["probability"] <= 1
            assert (role["noun"] is None) == (role["gloss"] is None)


def test_every_kind_of_picture_is_read_as_the_bank_reads_it(
    trained: Config, asker: Asker, tmp_path: Path
) -> None:
    """The orientation of EXIF is not applied, grey and 16 bits become RGB, what is transparent white."""
    grey = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    clear = np.dstack(
        [np.zeros((40, 60, 3), np.uint8), 255 - grey]
    )  # black, ever more transparent over white
    Image.fromarray(clear, "RGBA").save(tmp_path / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(tmp_path / "rgb.png").save(tmp_path / "turned.png", exif=turned)
    names = ("rgb.png", "grey.png", "deep.png", "clear.png", "turned.png")
    first, *others = asker.ask(*(tmp_path / name for name in names))
    assert (first["width"], first["height"]) == (60, 40)
    for other in others:
        assert {**other, "image": ""} == {**first, "image": ""}


def test_batches_are_of_the_encoder_and_answers_in_the_order_given(trained: Config, asker: Asker) -> None:
    pictures = sorted((trained.data.root / "images_512").iterdir())[:40][::-1]  # a batch is 32
    answers = asker.ask(*pictures, top=1)
    assert [answer["image"] for answer in answers] == [str(picture) for picture in pictures]
    assert answers[35] == asker.ask(pictures[35], top=1)[0]


def test_an_unreadable_picture_is_named_and_the_others_go_on(
    trained: Config, asker: Asker, tmp_path: Path
) -> None:
    good = sorted((trained.data.root / "images_512").iterdir())[:2]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(FindingsError) as caught:
        asker.ask(good[0], broken, good[1], out=tmp_path / "out.jsonl")
    assert f"1 of 3 pictures could not be read, e.g. {broken}, more than max_failure_rate 5.0%" in str(
        caught.value
    )
    assert any(line.startswith(f"{broken}: not a picture") for line in asker.heard.lines)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [str(good[0]), str(broken), str(good[1])]
    assert "not a picture" in lines[1]["error"]
    assert "verbs" in lines[2]


def test_few_unreadable_pictures_are_no_failure(trained: Config, asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    good = sorted((trained.data.root / "images_512").iterdir())[:20]
    assert len(asker.ask(*good, tmp_path / "broken.jpg")) == 21


def test_drawn_pictures_bear_names_of_their_own(trained: Config, asker: Asker, tmp_path: Path) -> None:
    source = sorted((trained.data.root / "images_512").iterdir())[0]
    for name in ("one/a.jpg", "two/a.jpg", "two/deep/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(source.read_bytes())
    asker.ask(tmp_path / "one", tmp_path / "two", draw=tmp_path / "drawn")
    drawn = sorted(
        path.relative_to(tmp_path / "drawn").as_posix() for path in (tmp_path / "drawn").rglob("*.png")
    )
    assert drawn == ["a-2.png", "a.png", "deep/a.png"]
    assert Image.open(tmp_path / "drawn" / "a.png").width == 800


# --- verbs of one's own ----------------------------------------------------------------------------------


def test_the_training_verbs_as_a_file_have_the_very_vectors_of_the_checkpoint(trained: Config) -> None:
    kept = load_student(trained.run_dir / "student" / BEST)
    space = trained.data.root / "SWiG_jsons" / "imsitu_space.json"
    heard = Heard()
    asked = open_vocabulary(kept.facts, kept.labels, space, "", "cpu", heard)
    unseen = [verb for verb in asked.vocabulary.verbs if kept.facts["subset_of"][verb] == "unseen"]
    shown = ", ".join(map(repr, unseen[:5]))
    told = f"48 verbs; not among those of training, so known by their text alone: {shown}, ..."
    assert f"{space}: {told}" in heard.lines
    order = [asked.vocabulary.verbs.index(verb) for verb in kept.facts["verbs"]]
    assert np.array_equal(asked.texts.verb.numpy()[order], kept.labels.verb.numpy())
    assert np.array_equal(asked.texts.role.numpy()[order], kept.labels.role.numpy())
    assert np.array_equal(asked.texts.role_mask.numpy()[order], kept.labels.role_mask.numpy())
    assert asked.texts.noun is kept.labels.noun


def test_any_verbs_with_any_roles_can_be_asked_for(trained: Config, asker: Asker, tmp_path: Path) -> None:
    verbs = tmp_path / "mine.yaml"
    verbs.write_text("- прыгать/плыть: [кто, где]\n- juggling: [agent]\n- verb: x\n  roles: [agent, a/b]\n")
    (answer,) = asker.ask(sorted((trained.data.root / "images_512").iterdir())[0], verbs=verbs)
    told = {verb["verb"]: [role["role"] for role in verb["roles"]] for verb in answer["verbs"]}
    assert told == {"прыгать/плыть": ["кто", "где"], "juggling": ["agent"], "x": ["agent", "a/b"]}
    assert sum(verb["probability"] for verb in answer["verbs"]) == pytest.approx(1, abs=1e-3)
    assert any("3 verbs; not among those of training" in line for line in asker.heard.lines)
    assert any("4 roles; not among those of training" in line for line in asker.heard.lines)


def test_a_calibrated_student_raises_the_same_verbs_wherever_they_stand(
    trained: Config, tmp_path: Path
) -> None:
    """The unseen verbs of the data set, and new ones, by the number that was chosen; training verbs never."""
    kept = load_student(trained.run_dir / "student" / BEST)
    subset_of = kept.facts["subset_of"]
    unseen = torch.tensor([subset_of[verb] == "unseen" for verb in kept.facts["verbs"]])
    texts = replace(kept.labels, verb_bias=1.5 * unseen)
    of = {subset: next(v for v, s in subset_of.items() if s == subset) for subset in ("seen", "unseen")}
    (tmp_path / "mine.yaml").write_text(
        f"- {of['unseen']}: [agent]\n- {of['seen']}: [agent]\n- new: [agent]\n"
    )
    given = kept.facts, texts, tmp_path / "mine.yaml", "", "cpu", SilentReporter()
    bias = open_vocabulary(*given).texts.verb_bias
    assert bias is not None
    assert bias.tolist() == [1.5, 0, 1.5]


@pytest.mark.parametrize("option", [{"as_released": True}, {"text_queries": False}])
def test_a_student_of_learned_numbers_is_asked_for_no_other_verbs(
    trained: Config, tmp_path: Path, option: dict[str, bool]
) -> None:
    """Even of as many verbs with as many roles: their numbers would be those of other verbs."""
    kept = load_student(trained.run_dir / "student" / BEST)
    facts = {**kept.facts, "student": {**kept.facts["student"], **option}}
    space = trained.data.root / "SWiG_jsons" / "imsitu_space.json"
    with pytest.raises(
        UserError, match=r"by learned numbers, so it cannot be asked for others; train one with"
    ):
        open_vocabulary(facts, kept.labels, space, "", "cpu", SilentReporter())


def test_nouns_come_from_the_heads_that_the_configuration_names(trained: Config, asker: Asker) -> None:
    picture = sorted((trained.data.root / "images_512").iterdir())[0]

    def nouns(share: float) -> list[tuple[str, float]]:
        evaluate = asker.config.evaluate.model_copy(update={"open_nouns": share})
        chosen = replace(asker, config=asker.config.model_copy(update={"evaluate": evaluate}))
        (answer,) = chosen.ask(picture, top=2)
        return [(r["noun"], r["probability"]) for verb in answer["verbs"] for r in verb["roles"]]

    closed, opened = nouns(0.0), nouns(1.0)
    assert len(closed) == len(opened) > 0
    assert closed != opened
    kept, tokens = load_student(asker.checkpoint), bank_tokens(trained, picture.name)
    labels = kept.student.label_vectors(kept.labels)
    with torch.inference_mode():
        seen = kept.student(tokens, labels)
        best = seen.verb_logits.argmax(dim=-1)
        said = kept.student.situate_verbs(seen.memory, labels, best)
    likely = said.open_logits[0].softmax(dim=-1).amax(dim=-1).tolist()
    told = [probability for _, probability in opened]
    roles = int(labels.role_mask[best].sum())
    assert told[:roles] == pytest.approx(likely[:roles], abs=2e-3)


def bank_tokens(config: Config, image: str) -> torch.Tensor:
    """[1, Q, Ds] of the picture, as the student's bank has them."""
    workspace = Workspace(config)
    samples = [s for split in ("train", "dev", "test") for s in workspace.data.split(split)]
    chosen = [sample for sample in samples if sample.image == image]
    return StoreDataset(workspace.store, chosen, workspace.data.vocabulary, teacher=False).read([0]).vision


def test_names_with_slashes_keep_their_own_texts(trained: Config, tmp_path: Path) -> None:
    """``a/b`` with role ``c`` and ``a`` with role ``b/c`` would be one label to the store."""
    kept = load_student(trained.run_dir / "student" / BEST)
    (tmp_path / "both.yaml").write_text("- a/b: [c, jumper]\n- a: [b/c]\n")
    (tmp_path / "one.yaml").write_text("- a: [b/c]\n")
    both, one = (
        open_vocabulary(kept.facts, kept.labels, tmp_path / name, "", "cpu", SilentReporter()).texts
        for name in ("both.yaml", "one.yaml")
    )
    assert np.array_equal(both.role[1].numpy(), one.role[0].numpy())


def without(path: Path, kind: str, target: Path, **changes: Any) -> Path:
    """The checkpoint with another record of one of its encoders."""
    tensors, facts = load_tensors(path)
    encoders = {name: record for name, record in facts["encoders"].items() if name != kind}
    if changes:
        record = facts["encoders"][kind]
        encoders[kind] = {**record, "identity": {**record["identity"], **changes}}
    save_tensors(target, tensors, {**facts, "encoders": encoders})
    return target


def test_another_encoder_is_refused_by_name(trained: Config, asker: Asker, tmp_path: Path) -> None:
    picture = sorted((trained.data.root / "images_512").iterdir())[0]
    verbs = trained.data.root / "SWiG_jsons" / "imsitu_space.json"
    best = asker.checkpoint
    with pytest.raises(UserError) as caught:
        asker.ask(picture, checkpoint=without(best, "vision", tmp_path / "a", version=0))
    assert "the vision encoder here is not the one the checkpoint was trained with" in str(caught.value)
    assert "version: 0 -> 1" in str(caught.value)
    changed = without(best, "text", tmp_path / "b", variant="other")
    assert asker.ask(picture, checkpoint=changed), "its own verbs need no text encoder"
    with pytest.raises(UserError, match=r"the text encoder here is not(.|\n)*variant: 'other' -> 'text'"):
        asker.ask(picture, checkpoint=changed, verbs=verbs)
    with pytest.raises(UserError, match="the checkpoint does not record its text encoder"):
        asker.ask(picture, checkpoint=without(best, "text", tmp_path / "c"), verbs=verbs)
    with pytest.raises(UserError, match="built-in encoder, which reads no model, but 'x' is given as one"):
        asker.ask(picture, vision_model="x")


def test_labels_of_other_settings_are_not_recorded_as_those_of_the_text_encoder(
    trained: Config, small_config: Callable[..., Config]
) -> None:
    from pipeline.frozen_encoders import record_encoders

    same = record_encoders(Workspace(trained))
    assert same["text"]["templates"]["role_templates"] == ["the {role} of {verb}"]
    other = small_config(trained.run_dir, "embed.noun_templates=['some {noun}']")
    assert "text" not in record_encoders(Workspace(other))


# --- evaluation among other verbs --------------------------------------------------------------------------


def test_evaluating_among_the_same_verbs_gives_the_same_figures(trained: Config) -> None:
    before = json.loads((trained.run_dir / "metrics.json").read_text())
    space = trained.data.root / "SWiG_jsons" / "imsitu_space.json"
    result = stage_two.evaluate(Workspace(trained), "test", verbs=space)
    assert result.data["subsets"] == before["subsets"]
    assert result.text.startswith("test set among the verbs of imsitu_space.json, in percent")
    for kind in ("md", "tex"):
        first = (trained.run_dir / f"metrics-imsitu_space.{kind}").read_text().splitlines()[0]
        assert r"test set among the verbs of imsitu\_space.json" in first
    assert json.loads((trained.run_dir / "metrics.json").read_text()) == before
    assert (trained.run_dir / "metrics-imsitu_space.json").exists()


def test_only_pictures_of_the_asked_verbs_count_with_their_roles_in_the_asked_order(
    trained: Config, tmp_path: Path
) -> None:
    workspace = Workspace(trained)
    sample = workspace.data.split("test")[0]
    verbs = tmp_path / "mine.yaml"
    verbs.write_text(json.dumps([{sample.verb: list(sample.roles)[::-1]}, {"juggling": ["agent"]}]))
    result = stage_two.evaluate(workspace, "test", verbs=verbs)
    count = sum(other.verb == sample.verb for other in workspace.data.split("test"))
    assert result.data["subsets"]["all"]["samples"] == count
    rows = pl.read_parquet(trained.run_dir / "predictions-mine.parquet")
    assert rows["roles"][0].to_list() == list(sample.roles)[::-1]
    verbs.write_text(json.dumps([{sample.verb: ["agent", "nonsense"]}]))
    with pytest.raises(UserError, match=f"verb '{sample.verb}' has the roles agent, nonsense, but picture"):
        stage_two.evaluate(workspace, "test", verbs=verbs)
    verbs.write_text("- juggling: [agent]\n")
    with pytest.raises(UserError, match=r"none of the \d+ pictures is of a verb in .*mine\.yaml"):
        stage_two.evaluate(workspace, "test", verbs=verbs)

"""Predictions are scored in pixels of the picture, whatever frame the student sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.data.geometry import Geometry
from stages.student.measuring.evaluate import evaluate, top_verbs, verb_logits
from stages.student.network.labels import assemble_labels
from stages.student.network.model import Student
from stages.student.network.noun_scores import noun_scores
from stages.student.reading.dataset import StoreDataset
from stages.student.settings import StudentSettings
from tests.student.store import GEOMETRY, VISION, VOCABULARY, make_store, sample


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    settings = StudentSettings(dim=16, heads=2, alignment_heads=2, feed_forward=16, head_hidden=16)
    return Student(settings, GEOMETRY, VISION, 16, len(VOCABULARY.nouns))


def test_each_picture_is_scored_once_in_order(tmp_path: Path, student: Student) -> None:
    images = tuple(f"{i}.jpg" for i in range(5))
    samples = [
        sample(image, verb, "test") for image, verb in zip(images, ["jumping", "riding"] * 3, strict=False)
    ]
    dataset = StoreDataset(make_store(tmp_path, images, ()), samples, VOCABULARY, teacher=False)
    texts = assemble_labels(torch.randn(3, 16), torch.randn(5, 16), [[0, 1], [2], [3, 4]], torch.randn(5, 16))
    labels = student.label_vectors(texts)
    student.train()
    whole = evaluate(student, labels, dataset, VOCABULARY, 5, torch.device("cpu"))
    parts = evaluate(student, labels, dataset, VOCABULARY, 2, torch.device("cpu"))
    assert student.training, "the student is left in the mode it came in"
    assert whole.results.images == parts.results.images == images
    assert np.array_equal(whole.results.rank, parts.results.rank)
    assert whole.predictions["image"].to_list() == list(images)
    first = whole.predictions.row(0, named=True)
    assert first["roles"] == ["agent", "obstacle"]
    assert len(first["nouns"]) == len(first["boxes"]) == 2
    assert len(first["top_verbs"]) == 3
    assert sum(first["top_probabilities"]) == pytest.approx(1.0)


def test_a_prediction_says_what_the_figures_are_made_of(tmp_path: Path, student: Student) -> None:
    images = ("a.jpg", "b.jpg", "c.jpg")
    samples = [sample(image, verb, "test") for image, verb in zip(images, VOCABULARY.verbs, strict=True)]
    dataset = StoreDataset(make_store(tmp_path, images, ()), samples, VOCABULARY, teacher=False)
    texts = assemble_labels(torch.randn(3, 16), torch.randn(5, 16), [[0, 1], [2], [3, 4]], torch.randn(5, 16))
    found = evaluate(student, student.label_vectors(texts), dataset, VOCABULARY, 2, torch.device("cpu"))
    for i, row in enumerate(found.predictions.iter_rows(named=True)):
        roles = len(row["roles"])
        assert row["rank"] == row["top_verbs"].index(row["verb"]) == found.results.rank[i]
        assert row["noun_right"] == found.results.noun_right[i, :roles].tolist()
        assert row["ground_right"] == found.results.ground_right[i, :roles].tolist()


def test_among_equals_the_annotated_verb_comes_last() -> None:
    logits = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 2.0, 1.0, 1.0], [float("nan")] * 4])
    assert top_verbs(logits, np.array([0, 2, 1])).tolist() == [[1, 2, 0, 3], [1, 3, 2, 0], [0, 2, 3, 1]]
    many = torch.arange(9.0).flip(0)[None]
    assert top_verbs(many, np.array([4])).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("mode", ["stretch", "pad", "crop"])
def test_a_perfect_box_overlaps_fully_in_every_frame(mode: str) -> None:
    geometry = Geometry(32, mode, 2, 2, 1)  # type: ignore[arg-type]
    box = (60.0, 10.0, 140.0, 90.0)  # inside the middle square that `crop` keeps
    framed = geometry.box_to_frame(box, 200, 100)
    assert framed is not None
    assert geometry.box_to_picture(framed, 200, 100) == pytest.approx(box)


def test_nouns_of_both_heads_by_hand() -> None:
    closed, opened = torch.tensor([3.0, 1.0, 1.0]).log(), torch.tensor([1.0, 8.0, 1.0]).log()
    assert noun_scores(closed, opened, 0) is closed
    torch.testing.assert_close(noun_scores(closed, opened, 1), torch.tensor([0.1, 0.8, 0.1]).log())
    even = noun_scores(closed + 5, opened - 7, 0.5)  # logits count up to a constant
    torch.testing.assert_close(even, torch.tensor([0.6 * 0.1, 0.2 * 0.8, 0.2 * 0.1]).sqrt().log())


def test_open_nouns_and_logits_come_from_the_same_pictures(tmp_path: Path, student: Student) -> None:
    samples = [sample(image, "jumping", "test") for image in ("a.jpg", "b.jpg", "c.jpg")]
    paths = make_store(tmp_path, ("a.jpg", "b.jpg", "c.jpg"), ())
    dataset = StoreDataset(paths, samples, VOCABULARY, teacher=False)
    noun = torch.randn(5, 16)
    texts = assemble_labels(torch.randn(3, 16), torch.randn(5, 16), [[0, 1], [2], [3, 4]], noun)
    labels = student.label_vectors(texts)
    cpu = torch.device("cpu")
    opened = evaluate(student, labels, dataset, VOCABULARY, 2, cpu, open_nouns=1.0)
    student.eval()
    batch = dataset.read([0, 1, 2])
    seen = student(batch.vision, labels)
    nearest = student.situate_verbs(seen.memory, labels, batch.verb).open_logits.argmax(dim=-1)[:, :2]
    assert opened.predictions["nouns"].to_list() == [[VOCABULARY.nouns[n] for n in row] for row in nearest]
    logits, verb = verb_logits(student, labels, dataset, 2, cpu)
    torch.testing.assert_close(logits, seen.verb_logits)
    assert verb.tolist() == [0, 0, 0]

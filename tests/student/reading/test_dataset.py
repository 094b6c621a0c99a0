"""Samples and banks come together in one batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cache.bank_header import BankHeader
from cache.errors import UserError
from cache.paths import StorePaths
from stages.student.reading.data_order import epoch_batches
from stages.student.reading.dataset import StoreDataset
from tests.cache.small_store import noise, write_shard
from tests.student.reading.joined import joined
from tests.student.store import GEOMETRY, VISION, VOCABULARY, make_store, sample


def test_a_batch_holds_what_banks_and_annotations_say(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg", "b.jpg"), ("a.jpg",))
    samples = [sample("a.jpg", box=(20.0, 10.0, 120.0, 60.0)), sample("b.jpg", "riding")]
    dataset = StoreDataset(store, samples, VOCABULARY, teacher=True)
    batch = joined([dataset[0], dataset[1]])
    assert batch.images == ("a.jpg", "b.jpg")
    assert torch.equal(batch.vision[1], torch.from_numpy(noise(5, 6, seed=["student-vision", "b.jpg"])))
    assert batch.verb.tolist() == [0, 1]
    assert batch.role_mask.tolist() == [[True, True, *[False] * 4], [True, *[False] * 5]]
    man, fence, blank, oov, pad = 1, 2, 0, 3, 4
    assert batch.nouns[0, :3].tolist() == [[man, man, blank], [oov, blank, fence], [pad] * 3]
    torch.testing.assert_close(batch.boxes[0, 0], torch.tensor([0.35, 0.35, 0.5, 0.5]))
    assert batch.box_exists.sum() == 1
    assert batch.teacher is not None
    torch.testing.assert_close(batch.teacher.role_boxes[0, 0], torch.tensor([0.1, 0.1, 0.6, 0.6]))
    assert batch.teacher.role_box_valid.equal(batch.box_exists)
    assert batch.teacher.text_mask[0].sum(dim=1).tolist() == [3, 0, 2, 1]


def test_a_picture_without_a_usable_rationale_stays_with_an_empty_mask(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg", "b.jpg"), ("a.jpg",))
    dataset = StoreDataset(store, [sample("b.jpg")], VOCABULARY, teacher=True)
    batch = joined([dataset[0]])
    assert batch.teacher is not None
    assert not batch.teacher.text_mask.any()


def test_evaluation_needs_no_teacher_bank(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg",), ())
    for name in ("teacher-vision", "rationale-text"):
        for path in store.bank(name).iterdir():
            path.unlink()
    dataset = StoreDataset(store, [sample("a.jpg")], VOCABULARY, teacher=False)
    assert joined([dataset[0]]).teacher is None


def test_pictures_the_bank_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg",), ("a.jpg",))
    dataset = StoreDataset(store, [sample("a.jpg"), sample("gone.jpg")], VOCABULARY, teacher=False)
    assert [s.image for s in dataset.samples] == ["a.jpg"]
    assert dataset.missing == ["gone.jpg"]


def test_a_bank_of_another_picture_set_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg",), ("a.jpg",))
    with pytest.raises(
        UserError, match=r"hold none of the 1 pictures of this data set, e.g. 'x.jpg'; make them"
    ):
        StoreDataset(store, [sample("x.jpg")], VOCABULARY, teacher=False)


def add_mirrored(store: StorePaths, images: tuple[str, ...], encoder: str = "") -> None:
    flipped = replace(GEOMETRY, flip=True).to_json()
    for plain in ("student-vision", "teacher-vision"):
        name = f"{plain}-mirrored"
        header = BankHeader(name, "fp32", (5, VISION), False, flipped, {"encoder": encoder or plain})
        write_shard(store, header, {image: noise(5, VISION, seed=[name, image]) for image in images})


IMAGES = ("a.jpg", "b.jpg", "c.jpg")


def test_mirrored_items_have_the_mirrored_rows_and_boxes(tmp_path: Path) -> None:
    """One batch of both views: each row from its own bank, each box in its own frame."""
    store = make_store(tmp_path, IMAGES, IMAGES)
    add_mirrored(store, IMAGES)
    samples = [sample(image, box=(20.0, 10.0, 120.0, 60.0)) for image in IMAGES]
    dataset = StoreDataset(store, samples, VOCABULARY, teacher=True, mirror=True)
    assert len(dataset) == 3
    batch = dataset.read([3, 1, 5])
    assert batch.images == ("a.jpg", "b.jpg", "c.jpg")
    assert batch.teacher is not None
    for found, bank in ((batch.vision, "student-vision"), (batch.teacher.vision, "teacher-vision")):
        for row, (image, view) in zip(
            found, [("a", "-mirrored"), ("b", ""), ("c", "-mirrored")], strict=True
        ):
            assert torch.equal(row, torch.from_numpy(noise(5, VISION, seed=[bank + view, f"{image}.jpg"])))
    torch.testing.assert_close(batch.boxes[0, 0], torch.tensor([0.65, 0.35, 0.5, 0.5]))
    torch.testing.assert_close(batch.boxes[1, 0], torch.tensor([0.35, 0.35, 0.5, 0.5]))
    torch.testing.assert_close(batch.teacher.role_boxes[2, 0], torch.tensor([0.4, 0.1, 0.9, 0.6]))
    assert batch.verb.equal(dataset.read([0, 1, 2]).verb)


def test_an_epoch_shows_every_picture_once_in_one_of_its_views(tmp_path: Path) -> None:
    images = tuple(f"{number}.jpg" for number in range(40))
    store = make_store(tmp_path, images, ())
    add_mirrored(store, images)
    samples = [sample(image) for image in images]
    plain = StoreDataset(store, samples, VOCABULARY, teacher=False)
    both = StoreDataset(store, samples, VOCABULARY, teacher=False, mirror=True)
    epochs = [[row for rows in epoch_batches(both, 7, 3, epoch) for row in rows] for epoch in (0, 1)]
    order = [row for rows in epoch_batches(plain, 7, 3, 0) for row in rows]
    assert [row % 40 for row in epochs[0]] == order, "the pictures' order stays"
    views = [{row % 40: row >= 40 for row in epoch} for epoch in epochs]
    assert all(10 < sum(view.values()) < 30 for view in views)
    assert views[0] != views[1]
    assert epochs[0] == [row for rows in epoch_batches(both, 7, 3, 0) for row in rows]


def test_mirrored_banks_that_are_missing_or_of_another_encoder_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path, IMAGES, IMAGES)
    samples = [sample(image) for image in IMAGES]
    with pytest.raises(
        UserError, match=r"train.mirror needs bank 'student-vision-mirrored' .*embed.mirrored=true"
    ):
        StoreDataset(store, samples, VOCABULARY, teacher=False, mirror=True)
    add_mirrored(store, IMAGES, encoder="other")
    with pytest.raises(
        UserError, match=r"'student-vision-mirrored' was made by another encoder, or in another"
    ):
        StoreDataset(store, samples, VOCABULARY, teacher=False, mirror=True)

"""Samples and banks come together in one batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cache.errors import UserError
from stages.student.dataset import StoreDataset, collate
from tests.cache.small_store import noise
from tests.student.store import VOCABULARY, make_store, sample


def test_a_batch_holds_what_banks_and_annotations_say(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg", "b.jpg"), ("a.jpg",))
    samples = [sample("a.jpg", box=(20.0, 10.0, 120.0, 60.0)), sample("b.jpg", "riding")]
    dataset = StoreDataset(store, samples, VOCABULARY, teacher=True)
    batch = collate([dataset[0], dataset[1]])
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
    batch = collate([dataset[0]])
    assert batch.teacher is not None
    assert not batch.teacher.text_mask.any()


def test_evaluation_needs_no_teacher_bank(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("a.jpg",), ())
    for name in ("teacher-vision", "rationale-text"):
        for path in store.bank(name).iterdir():
            path.unlink()
    dataset = StoreDataset(store, [sample("a.jpg")], VOCABULARY, teacher=False)
    assert collate([dataset[0]]).teacher is None


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

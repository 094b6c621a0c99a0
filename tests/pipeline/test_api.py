"""The Python interface: what a notebook reads is what the commands and stages read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from cache.bank_header import RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION
from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.paths import StorePaths
from cache.rationales import read_rationales
from pipeline.api import Store, StudentHandle, load_student, open_store
from pipeline.config import Config
from stages.student.training.checkpoint import BEST
from tests.cache.small_store import IMAGES, small_store


@pytest.fixture(scope="module")
def store(trained: Config) -> Store:
    return open_store(trained.run_dir)


@pytest.fixture(scope="module")
def student(trained: Config) -> StudentHandle:
    return load_student(trained.run_dir, device="cpu", top=3)


def test_a_store_opens_by_its_own_folder_or_its_run_s(trained: Config, store: Store) -> None:
    assert open_store(trained.store).paths == store.paths


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store at"):
        open_store(tmp_path)


def test_importing_it_loads_no_torch() -> None:
    program = "import sys, pipeline.api; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_rationales_are_those_that_training_reads_unless_everything_is_asked_for(tmp_path: Path) -> None:
    paths = small_store(tmp_path / "store")
    store = open_store(paths.root)
    assert store.rationales(everything=True).equals(read_rationales(paths))
    assert store.rationales().height == 16
    assert set(store.rationales()["status"]) == {"accepted"}
    assert "usable" not in store.rationales().columns
    assert store.failures()["image"].to_list() == ["bad.jpg"]


def test_tokens_are_the_bank_s_rows_in_the_order_asked_for(store: Store) -> None:
    assert store.banks == [RATIONALE_TEXT, STUDENT_VISION, TEACHER_VISION]
    images = store.images(STUDENT_VISION)[3:0:-1]
    tokens = store.tokens(STUDENT_VISION, images)
    reader = BankReader(store.paths, STUDENT_VISION)
    assert tokens.dtype == torch.bfloat16
    for image, row in zip(images, tokens, strict=True):
        torch.testing.assert_close(row.float(), torch.from_numpy(reader.read(image).tokens))


def test_the_mask_says_which_text_tokens_count(store: Store) -> None:
    images = store.images(RATIONALE_TEXT)[:2]
    mask, reader = store.mask(RATIONALE_TEXT, images), BankReader(store.paths, RATIONALE_TEXT)
    assert mask.shape == store.tokens(RATIONALE_TEXT, images).shape[:3]
    for image, row in zip(images, mask.sum(dim=-1).tolist(), strict=True):
        lengths = reader.read(image).lengths
        assert lengths is not None
        assert row == lengths.tolist()


def test_a_bank_without_a_mask_is_named_with_those_that_have_one(store: Store) -> None:
    with pytest.raises(UserError, match=r"'student-vision' has no mask.*: rationale-text"):
        store.mask(STUDENT_VISION, store.images(STUDENT_VISION)[:1])


def test_labels_stand_beside_their_unit_vectors(store: Store) -> None:
    names, vectors = store.labels("verbs")
    assert "jumping" in names
    assert len(names) == len(vectors)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(names)))


def test_a_text_finds_itself_first_and_filters_narrow(store: Store) -> None:
    row = store.rationales().row(5, named=True)
    found = store.search(row["text"], count=3)
    assert found["text"][0] == row["text"]
    assert found["similarity"][0] == pytest.approx(1, abs=1e-4)
    assert found["similarity"].is_sorted(descending=True)
    narrow = store.search(row["text"], polarity="negative", aspect="gaze")
    assert set(narrow["polarity"]) == {"negative"}
    assert set(narrow["aspect"]) == {"gaze"}


def test_similar_pictures_leave_the_picture_itself_out(store: Store) -> None:
    image = store.images(STUDENT_VISION)[0]
    found = store.similar(image, count=4)
    assert found.height == 4
    assert image not in found["image"].to_list()


def test_a_picture_that_the_store_lacks_is_named(store: Store) -> None:
    with pytest.raises(UserError, match=r"no vector of picture 'nowhere.jpg'"):
        store.similar("nowhere.jpg")


def test_a_search_by_text_needs_the_run_s_configuration(tmp_path: Path) -> None:
    small_store(tmp_path / "store")
    with pytest.raises(UserError, match="no config file"):
        open_store(tmp_path / "store").search("a horse")


def test_a_student_says_the_same_of_a_file_and_of_its_picture(
    trained: Config, student: StudentHandle
) -> None:
    files = sorted((trained.data.root / "images_512").iterdir())[:2]
    of_files = student.predict(files)
    assert [len(verbs) for verbs in of_files] == [3, 3]
    with Image.open(files[1]) as picture:
        assert student.predict([picture]) == student.predict([files[1]])
    assert of_files[0][0].probability >= of_files[0][1].probability


def test_a_student_is_loaded_from_its_checkpoint_and_with_other_verbs(
    trained: Config, tmp_path: Path
) -> None:
    verbs = tmp_path / "verbs.yaml"
    verbs.write_text("flying: [agent, place]\nswimming: [agent]\n")
    student = load_student(trained.run_dir / "student" / BEST, device="cpu", verbs=verbs)
    picture = sorted((trained.data.root / "images_512").iterdir())[0]
    ((first, second),) = student.predict([picture])
    assert {first.verb, second.verb} == {"flying", "swimming"}


def test_a_missing_student_and_a_missing_picture_are_named(
    trained: Config, student: StudentHandle, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="missing"):
        student.predict([tmp_path / "none.jpg"])
    with pytest.raises(UserError, match=str(tmp_path)):
        load_student(tmp_path / "none.safetensors")


def test_images_of_the_store_are_the_pictures(tmp_path: Path) -> None:
    store = Store(StorePaths(small_store(tmp_path / "store").root), tmp_path / "config.yaml")
    assert sorted(store.images("student-vision")) == sorted(IMAGES)

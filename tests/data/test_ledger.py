from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache.keys import digest_bytes
from stages.data import ledger as ledger_module
from stages.data import pictures
from stages.data.ledger import PictureLedger

SIZE = (8, 6)
MAX_PIXELS = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", SIZE, (40 * i, 0, 0)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: SIZE for path in sorted(folder.iterdir())}


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts real reads of picture files from here on."""
    found: list[str] = []
    real = pictures.read_bytes

    def counting(path: Path, max_pixels: int) -> bytes:
        found.append(path.name)
        return real(path, max_pixels)

    monkeypatch.setattr(ledger_module, "read_bytes", counting)
    return found


def _problem(ledger: PictureLedger, image: str) -> str:
    reason = ledger.problem(image)
    assert reason is not None
    return reason


def _checked(
    path: Path, folder: Path, sizes: dict[str, tuple[int, int]], max_pixels: int = 1000
) -> PictureLedger:
    ledger = PictureLedger(path, max_pixels)
    ledger.check(folder, sizes)
    return ledger


def test_digests_are_of_the_files_bytes_and_progress_adds_up(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    done: list[int] = []
    ledger = PictureLedger(tmp_path / "pictures.parquet", MAX_PIXELS)
    ledger.check(folder, sizes, done.append)
    assert sum(done) == 5
    for image in sizes:
        assert ledger.digest(image) == digest_bytes((folder / image).read_bytes())
        assert ledger.problem(image) is None


def test_a_second_run_reads_only_what_changed(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pictures.parquet"
    before = _checked(path, folder, sizes)
    reads = _reads(monkeypatch)
    again = _checked(path, folder, sizes)
    assert reads == []
    assert [again.digest(image) for image in sizes] == [before.digest(image) for image in sizes]

    Image.new("RGB", SIZE, (0, 9, 0)).save(folder / "2.png")
    status = (folder / "3.png").stat()
    os.utime(folder / "3.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    changed = _checked(path, folder, sizes)
    assert sorted(reads) == ["2.png", "3.png"]
    assert changed.digest("2.png") == digest_bytes((folder / "2.png").read_bytes()) != before.digest("2.png")
    assert changed.digest("3.png") == before.digest("3.png")


def test_every_kind_of_bad_picture_has_its_reason_and_the_rest_goes_on(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    (folder / "0.png").unlink()
    (folder / "1.png").write_bytes(b"")
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[:-25])
    sizes["3.png"] = (6, 8)
    ledger = _checked(tmp_path / "pictures.parquet", folder, sizes)
    assert _problem(ledger, "0.png").startswith("missing")
    assert _problem(ledger, "1.png").startswith("zero-byte file")
    assert _problem(ledger, "2.png").startswith("truncated or damaged")
    assert _problem(ledger, "3.png") == (
        "annotated as 6 x 8 pixels, but the picture has 8 x 6: a size that is not the picture's, so its "
        "boxes cannot be placed; correct the annotation, or put the picture that was annotated in its place"
    )
    assert ledger.problem("4.png") is None
    with pytest.raises(KeyError):
        ledger.digest("0.png")


def test_a_repaired_picture_and_a_corrected_annotation_are_noticed(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pictures.parquet"
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(b"")
    ledger = _checked(path, folder, sizes | {"1.png": (1, 1)})
    assert ledger.problem("0.png") is not None
    assert ledger.problem("1.png") is not None
    (folder / "0.png").write_bytes(whole)
    reads = _reads(monkeypatch)
    ledger.check(folder, sizes)
    for checked in (ledger, _checked(path, folder, sizes)):
        assert checked.problem("0.png") is None
        assert checked.problem("1.png") is None
    assert reads == ["0.png"], "the picture of the wrong annotation was whole, and is not read again"


def test_a_picture_that_went_away_is_forgotten(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    path = tmp_path / "pictures.parquet"
    _checked(path, folder, sizes)
    (folder / "0.png").unlink()
    _checked(path, folder, sizes)
    assert pq.read_table(path).column("image").to_pylist() == ["1.png", "2.png", "3.png", "4.png"]


def test_a_lower_bound_on_pixels_holds_for_remembered_pictures_too(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    path = tmp_path / "pictures.parquet"
    _checked(path, folder, sizes, max_pixels=48)
    reason = _problem(_checked(path, folder, sizes, max_pixels=47), "0.png")
    assert reason.startswith("8 x 6 = 48 pixels; at most 47 are decoded")
    assert _checked(path, folder, sizes, max_pixels=48).problem("0.png") is None


@pytest.mark.parametrize("damage", ["cut", "text", "flipped", "other"])
def test_a_damaged_ledger_is_made_again_and_says_so(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], damage: str
) -> None:
    path = tmp_path / "pictures.parquet"
    before = _checked(path, folder, sizes)
    assert before.rebuilt is None
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:100])
    elif damage == "text":
        path.write_text("not a parquet file")
    elif damage == "flipped":
        path.write_bytes(data[:30] + bytes([data[30] ^ 0xFF]) + data[31:])
    else:
        pq.write_table(pq.read_table(path).select(["image"]), path)
    ledger = PictureLedger(path, MAX_PIXELS)
    assert ledger.rebuilt is not None
    assert ledger.rebuilt.startswith(f"{path}: ")
    assert ledger.rebuilt.endswith("every picture is read again")
    ledger.check(folder, sizes)
    assert [ledger.digest(image) for image in sizes] == [before.digest(image) for image in sizes]
    assert PictureLedger(path, MAX_PIXELS).rebuilt is None


def test_no_flipped_byte_is_ever_believed(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    path = tmp_path / "pictures.parquet"
    before = _checked(path, folder, sizes)
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        ledger = PictureLedger(path, MAX_PIXELS)
        if ledger.rebuilt is None:
            assert [ledger.digest(image) for image in sizes] == [before.digest(image) for image in sizes], (
                position
            )


def test_an_interrupted_check_keeps_what_it_read(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHUNK", 2)
    path = tmp_path / "pictures.parquet"

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PictureLedger(path, MAX_PIXELS).check(folder, sizes, interrupt)
    reads = _reads(monkeypatch)
    _checked(path, folder, sizes)
    assert sorted(reads) == ["2.png", "3.png", "4.png"]


def test_a_long_check_saves_on_its_way(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHUNK", 1)
    monkeypatch.setattr(ledger_module, "SAVE_EVERY", 2)
    path = tmp_path / "pictures.parquet"
    saved: list[int] = []
    PictureLedger(path, MAX_PIXELS).check(
        folder, sizes, lambda _: saved.append(pq.read_metadata(path).num_rows if path.exists() else 0)
    )
    assert saved == [0, 0, 2, 2, 4]
    assert pq.read_metadata(path).num_rows == 5


def test_workers_with_a_part_of_the_pictures_each_fill_one_file(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them read the file before any saves."""
    path = tmp_path / "pictures.parquet"
    workers = [PictureLedger(path, MAX_PIXELS) for _ in range(3)]
    for i, worker in enumerate(workers):
        worker.check(folder, dict(list(sizes.items())[2 * i : 2 * i + 2]))
    reads = _reads(monkeypatch)
    _checked(path, folder, sizes)
    assert reads == []


def test_a_worker_overwrites_only_what_it_read_itself(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loaded the others' pictures as they were, and one of those went away meanwhile."""
    path = tmp_path / "pictures.parquet"
    _checked(path, folder, {image: sizes[image] for image in ("0.png", "1.png", "2.png")})
    slow, quick = PictureLedger(path, MAX_PIXELS), PictureLedger(path, MAX_PIXELS)
    Image.new("RGB", SIZE, (0, 9, 0)).save(folder / "0.png")
    (folder / "1.png").unlink()
    quick.check(folder, {image: sizes[image] for image in ("0.png", "1.png")})
    Image.new("RGB", SIZE, (0, 0, 9)).save(folder / "2.png")
    slow.check(folder, {image: sizes[image] for image in ("2.png", "3.png")})
    assert pq.read_table(path).column("image").to_pylist() == ["0.png", "2.png", "3.png"]
    reads = _reads(monkeypatch)
    _checked(path, folder, {image: sizes[image] for image in ("0.png", "2.png", "3.png")})
    assert reads == []


def test_a_file_damaged_meanwhile_is_written_whole(
    tmp_path: Path, folder: Path, sizes: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pictures.parquet"
    _checked(path, folder, {"0.png": SIZE})
    ledger = PictureLedger(path, MAX_PIXELS)
    path.write_bytes(b"")
    ledger.check(folder, sizes)
    reads = _reads(monkeypatch)
    _checked(path, folder, sizes)
    assert reads == []


def test_no_pictures_make_no_file(tmp_path: Path, folder: Path) -> None:
    _checked(tmp_path / "pictures.parquet", folder, {})
    assert not (tmp_path / "pictures.parquet").exists()

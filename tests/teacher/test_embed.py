"""Banks as `embed-teacher` fills them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cache.bank_header import BankHeader, write_header
from cache.bank_reader import BankReader
from cache.kinds import KINDS
from cache.manifest import add_parts, load_manifest, put_in_force
from cache.paths import StorePaths
from cache.text_counts import TextCounts, combine
from cache.vectors import read_vectors
from stages.data.geometry import Geometry
from stages.teacher.embedding.bank_headers import mirrored_header, text_header, vision_header
from stages.teacher.embedding.bank_jobs import TextJob, VisionJob, write_shard
from stages.teacher.embedding.frame_reader import FrameReader
from stages.teacher.encoders.builtin_text import BuiltinText
from stages.teacher.encoders.encoder import Floats
from stages.teacher.encoders.long_texts import PooledLongTexts
from tests.cache.small_store import PRODUCER, empty_store


class MeanColours:
    """A vision encoder whose tokens are the mean colours of a 2 x 2 grid, and that remembers its batches."""

    def __init__(self, dim: int = 3) -> None:
        self.batch_size = 4
        self.geometry = Geometry(8, "stretch", 2, 2, class_tokens=1)
        self.dim = dim
        self.batches: list[int] = []

    def identity(self) -> Mapping[str, Any]:
        return {"encoder": "mean colours"}

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        self.batches.append(len(frames))
        cells = frames.reshape(len(frames), 2, 4, 2, 4, 3).mean((2, 4)).reshape(len(frames), 4, 3)
        tokens = np.zeros((len(frames), 5, self.dim), np.float32)
        tokens[:, 1:, :3] = cells
        tokens[:, 0, :3] = cells.mean(1)
        return tokens

    def close(self) -> None:
        self.batches.clear()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        pixels = np.random.RandomState(number).randint(0, 256, (12, 9, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"broken")
    return folder


def vision_job(folder: Path, header: BankHeader, encoder: MeanColours, family: str | None) -> VisionJob:
    assert header.geometry is not None
    reader = FrameReader(Geometry.from_json(header.geometry), 10_000, workers=2)
    digests = {f"{number}.png": str(number) for number in range(10)}
    return VisionJob(header, family, digests, lambda image: folder / image, encoder, reader)


def write(job: VisionJob | TextJob, root: Path) -> dict[str, Floats]:
    """Writes one shard of all rows; returns its tokens."""
    paths, keys = empty_store(root), job.row_keys()
    write_header(paths, job.header)
    for name in (job.header.name, *([job.family] if job.family else [])):
        put_in_force(paths, name, job.header.fingerprint)
    add_parts(paths, write_shard(job, paths, list(keys), keys, PRODUCER, lambda count: None))
    job.close()
    reader = BankReader(paths, job.header.name)
    rows = {image: reader.read(image).tokens for image in reader.images}
    reader.close()
    return rows


def test_batches_are_full_though_a_picture_in_them_is_broken(pictures: Path, tmp_path: Path) -> None:
    encoder = MeanColours()
    job = vision_job(pictures, vision_header("v", encoder, "fp32"), encoder, None)
    rows = write(job, tmp_path)
    assert encoder.batches == [4, 4, 1]
    assert sorted(rows) == [f"{number}.png" for number in range(10) if number != 4]
    assert [(row.image, row.reason[:13]) for row in job.failures] == [("4.png", "not a picture")]


def test_the_mirrored_view_is_the_same_encoder_on_mirrored_pictures(pictures: Path, tmp_path: Path) -> None:
    encoder = MeanColours()
    header = vision_header("v", encoder, "fp32")
    second = mirrored_header(header)
    assert (second.name, second.fingerprint != header.fingerprint) == ("v-mirrored", True)
    plain = write(vision_job(pictures, header, encoder, None), tmp_path / "plain")
    flipped = write(vision_job(pictures, second, encoder, None), tmp_path / "mirrored")
    for image, tokens in plain.items():
        grid = tokens[1:].reshape(2, 2, 3)
        np.testing.assert_allclose(flipped[image][1:].reshape(2, 2, 3), grid[:, ::-1], atol=1e-4)


def test_a_shard_in_the_making_holds_stored_rows_not_all_of_its_tokens(
    pictures: Path, tmp_path: Path
) -> None:
    """A pooled vector that is a view of its batch's tokens would keep all of them until the shard ends."""
    (pictures / "4.png").write_bytes((pictures / "5.png").read_bytes())
    encoder = MeanColours(dim=50_000)  # a picture's tokens are 1 MB, 0.5 MB as stored, 0.2 MB pooled
    encoder.batch_size = 1
    job = vision_job(pictures, vision_header("v", encoder, "fp16"), encoder, "pictures")
    paths, keys = empty_store(tmp_path), job.row_keys()
    peaks = []
    for count in (3, 3, 10):  # the first call also loads what writing needs
        tracemalloc.start()
        write_shard(job, paths, list(keys)[:count], keys, PRODUCER, lambda count: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    job.close()
    assert (peaks[2] - peaks[1]) / 7 < 1.2e6


def test_long_rationales_are_pooled_counted_and_padded(tmp_path: Path) -> None:
    encoder = PooledLongTexts(BuiltinText(dim=4, pooled_dim=8, max_tokens=5, batch_size=6))
    texts = {
        "a.jpg": ("one two three", "", "four five six seven eight nine ten", "eleven"),
        "b.jpg": ("", "", "", ""),
        "c.jpg": ("one", "two", "three", "four"),
    }
    job = TextJob(text_header(encoder, "fp32"), "rationales", texts, encoder)
    rows = write(job, tmp_path)
    paths = StorePaths(tmp_path)
    reader = BankReader(paths, job.header.name)
    lengths = {image: reader.read(image).lengths for image in reader.images}
    reader.close()
    assert {image: found.tolist() for image, found in lengths.items() if found is not None} == {
        "a.jpg": [3, 0, 5, 1],
        "b.jpg": [0, 0, 0, 0],
        "c.jpg": [1, 1, 1, 1],
    }
    np.testing.assert_allclose(rows["a.jpg"][2], encoder.encode([texts["a.jpg"][2]]).tokens[0], atol=1e-5)
    assert not rows["a.jpg"][1].any()
    assert job.counts == TextCounts(texts=7, in_pieces=1)
    assert combine(load_manifest(paths).of("bank", job.header.name)) == job.counts
    vectors = read_vectors(paths, "rationales")
    keys = [row[:3] for row in vectors.select("image", "aspect", "polarity").iter_rows()]
    there = [
        (image, *kind) for image in texts for kind, text in zip(KINDS, texts[image], strict=True) if text
    ]
    assert keys == there


def test_counts_of_shards_add_up() -> None:
    one = TextCounts(texts=5, in_pieces=2, cut=1, tokens_cut=30)
    assert one + one == TextCounts(10, 4, 2, 60)
    assert combine([]) is None

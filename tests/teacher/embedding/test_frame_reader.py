"""Frames come in order and whole, from threads and from processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache.errors import MachineError
from stages.data.geometry import Geometry
from stages.teacher.embedding.frame_reader import DecodeIn, FrameReader, load_frame

GEOMETRY = Geometry(16, "pad", 4, 4, class_tokens=1, flip=True)
PIXELS = 10_000


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve pictures of noise; the fourth is no picture and the sixth is not there."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        pixels = np.random.RandomState(number).randint(0, 256, (20 + number, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    paths[3].write_bytes(b"no picture")
    paths[5].unlink()
    return paths


@pytest.fixture(scope="module", params=["threads", "processes"])
def reader(request: pytest.FixtureRequest) -> Iterator[FrameReader]:
    kind: DecodeIn = request.param
    reader = FrameReader(GEOMETRY, PIXELS, workers=2, decode_in=kind)
    yield reader
    reader.close()


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_frames_are_those_read_one_by_one_in_order(
    reader: FrameReader, pictures: list[Path], ahead: int
) -> None:
    expected = [load_frame(GEOMETRY, PIXELS, picture) for picture in pictures]
    found = list(reader.read(pictures, ahead))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert str(found[3]).startswith("not a picture")
    assert str(found[5]).startswith("missing")


def test_no_more_pictures_are_asked_for_than_may_be_held(reader: FrameReader, pictures: list[Path]) -> None:
    taken: list[Path] = []

    def watched() -> Iterator[Path]:
        for picture in pictures:
            taken.append(picture)
            yield picture

    frames = reader.read(watched(), ahead=4)
    assert taken == []
    for count in range(1, 6):
        next(frames)
        assert len(taken) <= count + 3
    frames.close()  # type: ignore[attr-defined]
    assert len(list(reader.read(pictures, 4))) == 12, "what was left behind does not come back"


def test_a_worker_that_died_is_named_and_leaves_no_process(pictures: list[Path]) -> None:
    others = multiprocessing.active_children()
    reader = FrameReader(GEOMETRY, PIXELS, workers=1, decode_in="processes")
    frames = reader.read(pictures, ahead=2)
    next(frames)
    (worker,) = set(multiprocessing.active_children()) - set(others)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(
        MachineError, match=r"process that decodes pictures died, at \d+\.png or one .*lower embed"
    ):
        list(frames)
    reader.close()
    assert not worker.is_alive()
    assert len(list(reader.read(pictures, ahead=2))) == 12, "a closed reader starts anew"
    reader.close()
    assert set(multiprocessing.active_children()) == set(others)


def test_workers_leave_ctrl_c_to_their_parent(pictures: list[Path]) -> None:
    others = multiprocessing.active_children()
    reader = FrameReader(GEOMETRY, PIXELS, workers=1, decode_in="processes")
    frames = reader.read(pictures, ahead=1)
    next(frames)
    (worker,) = set(multiprocessing.active_children()) - set(others)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert len(list(frames)) == 11
    reader.close()

"""`mipd-pipe predict`: situations on pictures of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cache.atomic import replacing
from cache.errors import FindingsError, UserError
from pipeline.config import Config
from pipeline.frozen_encoders import encoder_device, open_student_vision
from pipeline.open_vocabulary import open_vocabulary, trained_vocabulary
from pipeline.picture_files import PictureFile, find_pictures
from stages.batches import batches
from stages.data.geometry import Geometry
from stages.data.pictures import PictureError, open_picture
from stages.reporter import Reporter
from stages.student.network.recogniser import PictureEncoder
from stages.student.predicting.predict import PredictedVerb, Predictor
from stages.student.reading.read_ahead import read_ahead
from stages.student.reading.ready import ReadyStudent, open_student
from stages.student.training.checkpoint import BEST

Echo = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What one call of `predict` is to do.

    pictures      files, folders and patterns
    checkpoint    a checkpoint's file or an export's folder; None = the run's best
    verbs         a file of other verbs to ask about; None = those of the training
    top           verbs told of each picture
    out, draw     file of JSON lines (None = stdout) and folder of drawn pictures (None = none)
    device        `auto`, `cpu`, `cuda`, ...; None = the configuration's
    vision_model  where the vision encoder lies, text_model the text encoder; "" = where they lay at training
    """

    pictures: Sequence[str]
    checkpoint: Path | None = None
    verbs: Path | None = None
    top: int = 5
    out: Path | None = None
    draw: Path | None = None
    device: str | None = None
    vision_model: str = ""
    text_model: str = ""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A picture that could be read."""

    file: PictureFile
    size: tuple[int, int]
    frame: NDArray[Any]
    picture: Image.Image | None  # only where it will be drawn on


@dataclass(frozen=True, slots=True)
class _Broken:
    file: PictureFile
    reason: str


def predict(config: Config, request: PredictRequest, reporter: Reporter, echo: Echo) -> None:
    """One JSON line per picture, to `echo` or a file, in the order of the pictures.

    A picture that cannot be read has a line with `error` and is named; the others go on. Raises
    FindingsError at the end where more of them than `max_failure_rate` allows could not be read.
    """
    files = find_pictures(request.pictures)
    device = request.device or config.train.device
    path = request.checkpoint or config.run_dir / "student" / BEST
    ready = open_student(path, device)
    predictor, encoder = open_predictor(ready, request, device, config.evaluate.open_nouns, reporter)
    artist = None if request.draw is None else _Artist(request.draw)
    broken: list[str] = []
    with _sink(request.out, echo) as write, reporter.progress("predict", len(files)) as advance:
        for part in _read(files, encoder, config.data.max_image_pixels, artist is not None):
            good = [one for one in part if isinstance(one, _Loaded)]
            said = iter(_ask(predictor, encoder, good))
            for one in part:
                if isinstance(one, _Broken):
                    reporter.say(f"{one.file.path}: {one.reason}")
                    broken.append(str(one.file.path))
                    write(_line(one.file, {"error": one.reason}))
                    continue
                verbs = next(said)
                write(_line(one.file, _facts(one, verbs)))
                if artist is not None and one.picture is not None:
                    artist.draw(one.file.name, one.picture, verbs)
            advance(len(part))
    _judge(broken, len(files), config.max_failure_rate)


def open_predictor(
    ready: ReadyStudent, request: PredictRequest, device: str, open_nouns: float, reporter: Reporter
) -> tuple[Predictor, PictureEncoder]:
    """The student with the labels that `request` asks about, and what it sees through."""
    facts, encoders_on = ready.facts, encoder_device(device)
    if request.verbs is None:
        asked = trained_vocabulary(facts, ready.texts)
    else:
        asked = open_vocabulary(facts, ready.texts, request.verbs, request.text_model, encoders_on, reporter)
    if ready.vision is not None and request.vision_model:
        raise UserError(
            "the export has its own vision encoder, and --vision-model names another; leave that option out"
        )
    encoder: PictureEncoder = ready.vision or open_student_vision(facts, request.vision_model, encoders_on)
    predictor = Predictor(
        ready.recogniser,
        ready.label_vectors(asked.texts),
        asked.vocabulary,
        Geometry.from_json(facts["geometry"]),
        ready.device,
        request.top,
        open_nouns,
    )
    return predictor, encoder


def _read(
    files: Sequence[PictureFile], encoder: PictureEncoder, max_pixels: int, keep: bool
) -> Iterator[list[_Loaded | _Broken]]:
    """Batches of pictures in the encoder's frame, as `embed-teacher` lays them, read ahead in threads."""

    def load(file: PictureFile) -> _Loaded | _Broken:
        try:
            picture = open_picture(file.path, max_pixels)
        except PictureError as fault:
            return _Broken(file, fault.reason)
        frame = encoder.geometry.place(picture)
        return _Loaded(file, picture.size, frame, picture if keep else None)

    def load_all(part: Sequence[PictureFile]) -> list[_Loaded | _Broken]:
        return [load(file) for file in part]

    yield from read_ahead(load_all, batches(files, encoder.batch_size))


def _ask(
    predictor: Predictor, encoder: PictureEncoder, pictures: Sequence[_Loaded]
) -> Sequence[tuple[PredictedVerb, ...]]:
    if not pictures:
        return []
    tokens = encoder.encode(np.stack([one.frame for one in pictures]))
    return predictor.predict(torch.from_numpy(tokens), [one.size for one in pictures])


def _facts(loaded: _Loaded, verbs: Sequence[PredictedVerb]) -> dict[str, Any]:
    width, height = loaded.size
    return {"width": width, "height": height, "verbs": [verb.to_json() for verb in verbs]}


def _line(file: PictureFile, fields: dict[str, Any]) -> bytes:
    """A file name that is no UTF-8 is spelled by JSON's own escapes."""
    text = json.dumps({"image": str(file.path), **fields}, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


@contextmanager
def _sink(out: Path | None, echo: Echo) -> Iterator[Echo]:
    if out is None:
        yield echo
        return
    with replacing(out) as temporary, temporary.open("wb") as file:
        yield lambda line: _discard(file.write(line))


def _discard(_: object) -> None:
    return None


class _Artist:
    """Draws into a folder, under names of their own where two pictures bear one."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--draw {folder} is a file; give a folder for the drawn pictures")
        self._folder = folder
        self._taken: set[Path] = set()

    def draw(self, name: Path, picture: Image.Image, verbs: Sequence[PredictedVerb]) -> None:
        from stages.student.predicting.drawing import draw_prediction

        target = self._free(name)
        with replacing(target) as temporary:
            draw_prediction(picture, verbs).save(temporary, "PNG")

    def _free(self, name: Path) -> Path:
        wanted, number = name.with_suffix(".png"), 1
        while wanted in self._taken:
            number += 1
            wanted = name.with_name(f"{name.stem}-{number}.png")
        self._taken.add(wanted)
        return self._folder / wanted


def _judge(broken: Sequence[str], total: int, bound: float) -> None:
    if len(broken) > bound * total:
        raise FindingsError(
            f"{len(broken)} of {total} pictures could not be read, e.g. {broken[0]}, more than "
            f"max_failure_rate {bound:.1%}; "
            + ("none is left to predict" if len(broken) == total else "the others are predicted")
        )

"""What a notebook needs of a run: a store's rationales, banks and neighbours; a student that predicts.

    store = open_store("runs/demo/store")
    store.rationales()                                  # a polars frame
    store.tokens("student-vision", ["jumping_1.jpg"])   # a torch tensor
    store.search("an elephant jumps over a car")        # a polars frame, nearest first
    student = load_student("runs/demo")
    student.predict(["jumping_1.jpg"])                  # verbs, roles, nouns and boxes

Reads only. Mistakes are raised as `cache.errors.UserError`, whose text says what to do.

Axes: B pictures, F sequences of a row (kinds of rationale), L tokens of one, N labels, E numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from PIL.Image import Image

from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.index import VectorIndex
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import read_quarantine, read_rationales
from cache.vectors import PICTURES, read_labels
from pipeline.config import Config, load_config
from pipeline.looking.nearest import encode_like_rationales, nearest_rationales
from pipeline.looking.search import stored_vector
from stages.batches import batches
from stages.data.pictures import open_picture, to_rgb
from stages.reporter import SilentReporter

if TYPE_CHECKING:
    from torch import Tensor

    from stages.student.network.recogniser import PictureEncoder
    from stages.student.predicting.predict import PredictedVerb, Predictor

MAX_PIXELS = 50_000_000  # of a picture that is to be predicted: the default of `data.max_image_pixels`


def open_store(path: str | Path, config: str | Path | None = None) -> Store:
    """A store, or the run that holds one.

    config   of the run, needed only to search by text: it names the encoder. Default: config.yaml beside
             the store

    Raises UserError where there is no store.
    """
    root = Path(path)
    if not (root / "manifest.json").exists() and (root / "store").is_dir():
        root = root / "store"
    return Store(StorePaths(root).require(), Path(config or root.parent / "config.yaml"))


def load_student(
    path: str | Path,
    device: str = "auto",
    top: int = 5,
    verbs: str | Path | None = None,
    open_nouns: float = 0.0,
) -> StudentHandle:
    """The best student of a run folder, or that of a checkpoint's file or an export's folder.

    device      `auto`, `cpu`, `mps`, `cuda` or `cuda:N`
    top         verbs told of each picture
    verbs       a file of other verbs to choose among, as of `mipd-pipe predict --verbs`
    open_nouns  as `evaluate.open_nouns`

    Needs neither store nor data set; its encoders are opened by what the checkpoint records of them. Raises
    UserError where it is missing, damaged or of another version, or an encoder is not there.
    """
    from pipeline.predict import PredictRequest, open_predictor
    from stages.student.reading.ready import open_student
    from stages.student.training.checkpoint import BEST

    best = Path(path) / "student" / BEST
    request = PredictRequest([], verbs=None if verbs is None else Path(verbs), top=top)
    ready = open_student(best if best.exists() else Path(path), device)
    return StudentHandle(*open_predictor(ready, request, device, open_nouns, SilentReporter()))


@dataclass(frozen=True)
class Store:
    """A store that is read; made by `open_store`. A bank is read as it was when it was first asked for."""

    paths: StorePaths
    config_file: Path
    _readers: dict[str, BankReader] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def config(self) -> Config:
        """Of the run that the store lies in. Raises UserError where it is missing."""
        return load_config(self.config_file)

    @property
    def banks(self) -> list[str]:
        """Names of the banks in force."""
        manifest = load_manifest(self.paths)
        return sorted({part.name for part in manifest.of_kind("bank")} & manifest.current.keys())

    def rationales(self, everything: bool = False) -> pl.DataFrame:
        """The rationales that training reads, a row each.

        everything   rejected attempts and earlier versions too, with the columns `current` and `usable`
        """
        frame = read_rationales(self.paths)
        return frame if everything else frame.filter("usable").drop("current", "usable")

    def failures(self) -> pl.DataFrame:
        """The quarantine: the newest failure of each picture and stage."""
        return read_quarantine(self.paths)

    def images(self, bank: str) -> list[str]:
        """The pictures that have a row in a bank."""
        return self._bank(bank).images

    def tokens(self, bank: str, images: Sequence[str]) -> Tensor:
        """[B, *shape of a row], in the number format of the bank (int8: float32, scales applied)."""
        from stages.student.network.tokens import to_tensor

        return to_tensor(self._bank(bank).read_batch(images))

    def mask(self, bank: str, images: Sequence[str]) -> Tensor:
        """[B, F, L] bool, the tokens of a masked bank that count. Raises UserError for another bank."""
        import torch

        reader = self._bank(bank)
        lengths = reader.read_batch(images).lengths
        if lengths is None:
            masked = [name for name in self.banks if self._bank(name).header.masked]
            raise UserError(
                f"bank {bank!r} has no mask: all {reader.header.shape[0]} tokens of a row count; banks with "
                f"one: {', '.join(masked) or 'none'}"
            )
        return torch.arange(reader.header.shape[1]) < torch.from_numpy(lengths)[..., None]

    def labels(self, family: str) -> tuple[list[str], Tensor]:
        """Labels of `verbs`, `roles` or `nouns` and their text vectors [N, E], in the vocabulary's order."""
        import torch

        names, vectors = read_labels(self.paths, family)
        return names, torch.from_numpy(vectors.copy())

    def search(
        self, text: str, count: int = 5, *, verb: str = "", aspect: str = "", polarity: str = ""
    ) -> pl.DataFrame:
        """The usable rationales nearest in meaning to a text, nearest first, with their cosines and verdicts.

        verb, aspect, polarity   of those that may be found; "" = any
        """
        from stages.teacher.encoders.sources import open_text

        query = encode_like_rationales(self.paths, open_text(self.config.embed.text), [text])
        wanted = {"verb": verb, "aspect": aspect, "polarity": polarity}
        filters = {name: value for name, value in wanted.items() if value}
        (hits,) = nearest_rationales(self.paths, query, count, filters)
        return pl.DataFrame([asdict(hit) for hit in hits])

    def similar(self, image: str, count: int = 5) -> pl.DataFrame:
        """The pictures of the store nearest to one of them, itself left out: columns image and similarity."""
        vector = stored_vector(self.paths, image)
        if vector is None:
            raise UserError(
                f"the store at {self.paths.root} has no vector of picture {image!r}; "
                "`Store.images('student-vision')` lists those it has"
            )
        (hits,) = VectorIndex(self.paths, PICTURES).search(np.asarray(vector, np.float32)[None], count + 1)
        others = [hit for hit in hits if hit.image != image][:count]
        schema = {"image": pl.String, "similarity": pl.Float64}
        return pl.DataFrame([(hit.image, hit.similarity) for hit in others], schema, orient="row")

    def _bank(self, name: str) -> BankReader:
        if name not in self._readers:
            self._readers[name] = BankReader(self.paths, name)
        return self._readers[name]


@dataclass(frozen=True)
class StudentHandle:
    """A student with the verbs it chooses among; made by `load_student`."""

    predictor: Predictor
    encoder: PictureEncoder

    def predict(self, pictures: Sequence[str | Path | Image]) -> list[tuple[PredictedVerb, ...]]:
        """For each picture, a file or one of Pillow's: its likeliest verbs, best first, with what fills them.

        Boxes are in pixels of the picture as it is stored. Raises UserError where a file cannot be read.
        """
        return [said for part in batches(pictures, self.encoder.batch_size) for said in self._ask(part)]

    def _ask(self, pictures: Sequence[str | Path | Image]) -> list[tuple[PredictedVerb, ...]]:
        import torch

        opened = [_open(picture) for picture in pictures]
        frames = np.stack([self.encoder.geometry.place(picture) for picture in opened])
        tokens = torch.from_numpy(self.encoder.encode(frames))
        return self.predictor.predict(tokens, [picture.size for picture in opened])


def _open(picture: str | Path | Image) -> Image:
    return to_rgb(picture) if isinstance(picture, Image) else open_picture(Path(picture), MAX_PIXELS)

"""How many bytes the store still takes: rationales, banks, vectors, indexes.

Left out: the student's checkpoints, which are a few times its own size, and the pictures' ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from cache.bank_header import (
    RATIONALE_TEXT,
    STUDENT_VISION,
    TEACHER_VISION,
    BankHeader,
    mirrored,
    read_header,
)
from cache.bank_reader import BankReader
from cache.errors import MachineError, UserError
from cache.index_plan import plan_index
from cache.kinds import KINDS
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.vectors import LABELS
from pipeline.checks.model_files import require_model
from pipeline.forecast.experience import Experience
from pipeline.forecast.requests import Work
from pipeline.forecast.spread import Spread, total
from stages.data.swig import DataSet
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.bank_headers import mirrored_header, text_header, vision_header
from stages.teacher.encoders import sources
from stages.teacher.encoders.encoder import TextEncoder, VisionEncoder
from stages.teacher.encoders.encoder_settings import (
    EncoderSettings,
    TextEncoderSettings,
    VisionEncoderSettings,
)

# Bytes a row where nothing was measured: 40 of templates, which compress well; a language model's texts have
# some 300 letters, of which zstd leaves less than half, and long ones twice as many.
ASSUMED_ROW = Spread(40, None, 400)
# LMDB: bytes of a page, of its header, of a row's keys in two tables (112 measured), and of a shard's own
# pages (8 measured).
_PAGE, _PAGE_HEADER, _KEYS, _SHARD = 4096, 16, 130, 9 * 4096
_INLINE = 1900  # a longer payload has pages of its own
_FLOAT = 4
# Vectors with their keys in Parquet, over the bare numbers: 1.23 to 1.5 measured; and a file's own bytes.
_PARQUET, _FILE = 1.6, 16 << 10


@dataclass(frozen=True, slots=True)
class Item:
    """One thing the store will hold more of. `bytes` is None where that is unknown, and `basis` says why."""

    what: str
    rows: int | None
    bytes: Spread | None
    basis: str


def rationale_bytes(work: Work, experience: Experience | None) -> Item:
    measured = experience.row_bytes if experience is not None else None
    row, basis = (ASSUMED_ROW, "assumed: 40 to 400 bytes a row")
    if measured is not None and experience is not None:
        row, basis = measured, experience.basis
    rows = work.rows.likely
    return Item("rationales", None if rows is None else round(rows), work.rows * row, basis)


def embedding_bytes(
    data: DataSet, unusable: set[str], to_ask: set[str], settings: EmbedSettings, paths: StorePaths
) -> list[Item]:
    """Banks, vectors and indexes that `embed-teacher` will still make.

    unusable   training pictures that are left out
    to_ask     pictures whose rationales will be new, so that their texts are encoded anew
    """
    train = {sample.image for sample in data.samples if sample.split == "train"} - unusable
    everything = set(data.annotated_sizes()) - unusable
    items: list[Item] = []
    wanted = [
        (TEACHER_VISION, train, _teacher_bank, set[str]()),
        (STUDENT_VISION, everything, _student_bank, set[str]()),
        (RATIONALE_TEXT, train, _text_bank, to_ask),
    ]
    if settings.mirrored:
        for name, images, describe, anew in wanted[:2]:
            wanted.append((mirrored(name), images, partial(_mirrored_bank, describe), anew))
    for name, images, describe, anew in wanted:
        try:
            bank = describe(settings)
        except (UserError, MachineError) as reason:
            items.append(Item(f"bank {name}", len(images), None, f"unknown: {reason}"))
            continue
        there = _rows_there(bank.header, paths) - anew
        items += _bank_items(bank, len(images), len(images - there), settings)
    return [*items, _labels(data, settings, paths)]


@dataclass(frozen=True, slots=True)
class _Bank:
    """A bank's header, which needs no weights, and how many pooled vectors of which width a row brings."""

    header: BankHeader
    vectors: int = 0
    width: int = 0


def _teacher_bank(settings: EmbedSettings) -> _Bank:
    encoder = _open_vision(settings.teacher_vision)
    return _Bank(vision_header(TEACHER_VISION, encoder, settings.storage))


def _student_bank(settings: EmbedSettings) -> _Bank:
    encoder = _open_vision(settings.student_vision)
    return _Bank(vision_header(STUDENT_VISION, encoder, settings.storage), 1, encoder.dim)


def _mirrored_bank(describe: Callable[[EmbedSettings], _Bank], settings: EmbedSettings) -> _Bank:
    return _Bank(mirrored_header(describe(settings).header))


def _text_bank(settings: EmbedSettings) -> _Bank:
    encoder = _open_text(settings.text)
    return _Bank(text_header(encoder, settings.storage), len(KINDS), encoder.pooled_dim)


def _open_vision(settings: VisionEncoderSettings) -> VisionEncoder:
    require_encoder(settings)
    return sources.open_vision(settings)


def _open_text(settings: TextEncoderSettings) -> TextEncoder:
    require_encoder(settings)
    return sources.open_text(settings)


def require_encoder(settings: EncoderSettings) -> None:
    """Raises UserError for a pretrained model that is not on this machine, before the hub is asked for it."""
    if settings.source != "builtin":
        require_model(settings.model, settings.revision)


def _rows_there(header: BankHeader, paths: StorePaths) -> set[str]:
    """Images that the bank in force has, if it was made by the same encoder in the same form."""
    try:
        if read_header(paths, header.name).fingerprint != header.fingerprint:
            return set()
        return set(BankReader(paths, header.name).images)
    except UserError:  # no store yet, no such bank, or a damaged one, which will be made anew
        return set()


def _bank_items(bank: _Bank, rows: int, missing: int, settings: EmbedSettings) -> Iterator[Item]:
    """The bank; and where it has pooled vectors, those and their index."""
    header, shards = bank.header, math.ceil(missing / settings.rows_per_shard)
    shape = " x ".join(map(str, header.shape))
    basis = f"{shape} in {header.storage}, {rows - missing} of {rows} rows are there"
    yield Item(f"bank {header.name}", missing, bank_bytes(header, missing, shards), basis)
    if bank.vectors:
        width = f"{bank.width} in fp32"
        yield Item(
            "  its vectors",
            missing * bank.vectors,
            vector_bytes(missing * bank.vectors, bank.width, shards),
            width,
        )
        # An index is built as a whole, beside the old one.
        indexed = rows * bank.vectors if missing else 0
        plan = plan_index(indexed, bank.width, settings.index.wish())
        yield Item("  its index", indexed, Spread.exactly(plan.file_bytes), str(plan))


def bank_bytes(header: BankHeader, rows: int, shards: int) -> Spread:
    """From the bare payloads to what LMDB makes of them: whole pages, their keys, and pages of its own.

    Short payloads share pages, which are between full and split down to one row.
    """
    payload, own = header.row_bytes, shards * _SHARD
    pages = math.ceil((payload + _PAGE_HEADER) / _PAGE)
    whole = rows * (pages * _PAGE + _KEYS) + own
    return Spread(rows * payload, whole if payload > _INLINE else None, whole * 1.02)


def vector_bytes(rows: int, width: int, files: int) -> Spread:
    bare = rows * width * _FLOAT
    return Spread(bare, None, bare * _PARQUET + files * _FILE) if rows else Spread.exactly(0)


def _labels(data: DataSet, settings: EmbedSettings, paths: StorePaths) -> Item:
    vocabulary, what = data.vocabulary, "label vectors"
    roles = sum(len(frame.roles) for frame in vocabulary.frames.values())
    rows = len(vocabulary.verbs) + roles + len(vocabulary.nouns)
    if load_manifest(paths).of("labels", "nouns"):
        return Item(what, 0, Spread.exactly(0), "there, unless the text encoder changed")
    try:
        width = _open_text(settings.text).pooled_dim
    except (UserError, MachineError) as reason:
        return Item(what, rows, None, f"unknown: {reason}")
    return Item(what, rows, vector_bytes(rows, width, len(LABELS)), f"{width} in fp32")


def known_bytes(items: Iterable[Item]) -> Spread:
    return total(item.bytes for item in items if item.bytes is not None)

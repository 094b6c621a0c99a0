"""The second command of stage one: labels, pictures and rationales become banks, vectors and indexes.

Every row carries the key of what decided it, so a call does only what is missing or changed. A shard is
finished as a whole; a killed call repeats at most the shard it was writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from cache.bank_header import STUDENT_VISION, TEACHER_VISION, BankHeader, write_header
from cache.bank_reader import BankReader
from cache.errors import FindingsError
from cache.index import build_index, index_records, require_faiss
from cache.index_plan import plan_index, require_memory
from cache.lock import writer_lock
from cache.manifest import add_parts, put_in_force, remove_leftovers
from cache.memory import read_memory
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, append_quarantine, usable_texts
from cache.vectors import PICTURES, RATIONALES, vector_versions
from stages.batches import batches
from stages.data.geometry import Geometry
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.reporter import Reporter
from stages.teacher.asking.plan import data_failure, new_failures
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.bank_headers import mirrored_header, text_header, vision_header
from stages.teacher.embedding.bank_jobs import BankJob, TextJob, VisionJob, write_shard
from stages.teacher.embedding.frame_reader import FrameReader
from stages.teacher.embedding.label_store import store_labels
from stages.teacher.encoders.encoder import TextEncoder, VisionEncoder

STAGE = "embed-teacher"


@dataclass(frozen=True, slots=True)
class Encoders:
    """The three frozen encoders of a store."""

    teacher_vision: VisionEncoder
    student_vision: VisionEncoder
    text: TextEncoder


@dataclass(frozen=True, slots=True)
class BankSummary:
    """Rows of one bank after a call, how many it wrote, and how many of those replaced older ones."""

    rows: int
    written: int
    changed: int


class Embedder:
    """Fills the banks of a store for one data set."""

    def __init__(
        self,
        data: DataSet,
        ledger: PictureLedger,
        encoders: Encoders,
        settings: EmbedSettings,
        paths: StorePaths,
        reporter: Reporter,
        producer: Mapping[str, Any],
    ) -> None:
        self.data, self.ledger, self.encoders = data, ledger, encoders
        self.settings, self.paths, self.reporter = settings, paths, reporter
        self._producer = {"command": STAGE, **producer}

    def run(self, max_failure_rate: float) -> dict[str, BankSummary]:
        """Makes whatever is missing. Raises FindingsError where too many pictures could not be read."""
        self.paths.require()
        require_faiss()  # missing, it is better said now than after hours of encoding
        with writer_lock(self.paths.root, STAGE), ExitStack() as opened:
            for encoder in (self.encoders.teacher_vision, self.encoders.student_vision, self.encoders.text):
                opened.enter_context(closing(encoder))
            remove_leftovers(self.paths)
            store_labels(
                self.paths,
                self.data.vocabulary,
                self.encoders.text,
                self.settings,
                self._producer,
                in_force=True,
            )
            texts, jobs = self._text_job(), self._vision_jobs()
            self._require_index_memory(len(self._usable()), _count_texts(texts))
            summaries = self._fill_all([texts, *jobs])
            for family in (PICTURES, RATIONALES):
                self._index(family)
            failures = self._failures(jobs)
            append_quarantine(self.paths, new_failures(self.paths, failures), self._producer)
        counts = {name: asdict(summary) for name, summary in summaries.items()}
        failed, total = self._count_failed(jobs, failures)
        self.reporter.event("banks-finished", banks=counts, failed=failed, texts=asdict(texts.counts))
        _check_failures(failed, total, max_failure_rate)
        return summaries

    def _failures(self, jobs: Sequence[BankJob]) -> list[QuarantineRow]:
        """What cannot be used of any split, each once: annotations, pictures, and what failed only here."""
        problems = [(p.image, p.reason) for p in self.data.problems if p.severity == "error"]
        problems += [
            (image, reason) for image in self.data.annotated_sizes() if (reason := self.ledger.problem(image))
        ]
        rows = [data_failure(image, reason) for image, reason in problems]
        rows += [row for job in jobs for row in job.failures]
        return list({(row.image, row.request_key): row for row in rows}.values())

    def _count_failed(self, jobs: Sequence[BankJob], failures: Sequence[QuarantineRow]) -> tuple[int, int]:
        """Different pictures that failed, of all different pictures of the data set.

        A picture that is refused in one split and used in another, or stands in two, has not failed.
        """
        broken = {row.image for job in jobs for row in job.failures}
        usable = {image for image in self.data.annotated_sizes() if not self.ledger.problem(image)} - broken
        failed = {row.image for row in failures} - usable
        return len(failed), len(failed | usable)

    def _usable(self) -> list[Sample]:
        return [sample for sample in self.data.samples if self.ledger.problem(sample.image) is None]

    def _text_job(self) -> TextJob:
        images = [sample.image for sample in self._usable() if sample.split == "train"]
        encoder = self.encoders.text
        return TextJob(
            header=text_header(encoder, self.settings.storage),
            family=RATIONALES,
            texts=usable_texts(self.paths, images),
            encoder=encoder,
        )

    def _vision_jobs(self) -> list[VisionJob]:
        usable = self._usable()
        train = [sample for sample in usable if sample.split == "train"]
        teacher, student = self.encoders.teacher_vision, self.encoders.student_vision
        return [
            *self._views(vision_header(TEACHER_VISION, teacher, self.settings.storage), teacher, train, None),
            *self._views(
                vision_header(STUDENT_VISION, student, self.settings.storage), student, usable, PICTURES
            ),
        ]

    def _views(
        self, header: BankHeader, encoder: VisionEncoder, samples: Iterable[Sample], family: str | None
    ) -> list[VisionJob]:
        """The bank, and where asked for the one with mirrored pictures, which has no vectors to search."""
        digests = {sample.image: self.ledger.digest(sample.image) for sample in samples}
        views = [(header, family)]
        if self.settings.mirrored:
            views.append((mirrored_header(header), None))
        return [
            VisionJob(view, of_view, digests, self.data.picture, encoder, self._reader(view))
            for view, of_view in views
        ]

    def _reader(self, header: BankHeader) -> FrameReader:
        assert header.geometry is not None
        return FrameReader(
            Geometry.from_json(header.geometry),
            self.ledger.max_pixels,
            self.settings.decode_workers,
            self.settings.decode_in,
        )

    def _require_index_memory(self, pictures: int, rationales: int) -> None:
        """Before anything is encoded, because what an index takes is known now."""
        available, there = read_memory()[1], [record.plan for record in index_records(self.paths)]
        widths = self.encoders.student_vision.dim, self.encoders.text.pooled_dim
        for family, count, width in zip((PICTURES, RATIONALES), (pictures, rationales), widths, strict=True):
            plan = plan_index(count, width, self.settings.index.wish())
            if plan not in there:
                require_memory(plan, family, available)

    def _index(self, family: str) -> None:
        if not build_index(self.paths, family, self._producer, self.settings.index.wish()):
            return
        record = next(record for record in index_records(self.paths) if record.family == family)
        plan, trial = record.plan, record.trial
        self.reporter.say(
            f"index of {family}: {plan}; finds {trial.recall:.1%} of the {trial.neighbours} nearest"
        )
        if trial.recall < plan.recall:
            self.reporter.say(
                f"note: that is less than the {plan.recall:.1%} of embed.index.recall; "
                + ("raise embed.index.quantise" if plan.code else "set embed.index.kind to ivf or flat")
            )

    def _fill_all(self, jobs: Sequence[TextJob | VisionJob]) -> dict[str, BankSummary]:
        """Fills banks in order. An encoder is closed after its last bank: the next one needs the memory.

        The texts come first, because their encoder was just loaded for the labels.
        """
        summaries = {}
        for _, of_encoder in groupby(jobs, key=lambda job: id(job.encoder)):
            for job in of_encoder:
                with closing(job):
                    summaries[job.header.name] = self._fill(job)
            job.encoder.close()
        return summaries

    def _fill(self, job: BankJob) -> BankSummary:
        header, family = job.header, job.family
        mark = header.fingerprint
        write_header(self.paths, header)
        put_in_force(self.paths, header.name, mark)
        if family:
            put_in_force(self.paths, family, mark)
        reader = BankReader(self.paths, header.name)
        wanted = job.row_keys()
        changed = sum(reader.row_keys.get(image, key) != key for image, key in wanted.items())
        # A row whose vectors were lost is made again with them: they are pooled before it is rounded.
        found = [reader.row_keys, *([vector_versions(self.paths, family)] if family else [])]
        todo = [image for image, key in wanted.items() if any(there.get(image) != key for there in found)]
        self._tell(header.name, len(wanted), len(todo), changed)
        done = len(wanted) - len(todo)
        with self.reporter.progress(header.name, len(wanted), done) as advance:
            for images in batches(todo, self.settings.rows_per_shard):
                parts = write_shard(job, self.paths, images, wanted, self._producer, advance)
                add_parts(self.paths, parts)
        if isinstance(job, TextJob):
            self._tell_long_texts(job)
        return BankSummary(len(wanted), len(todo) - len(job.failures), changed)

    def _tell(self, name: str, total: int, todo: int, changed: int) -> None:
        tail = f", {changed} of them changed since" if changed else ""
        self.reporter.say(f"bank {name}: {total} rows, {total - todo} there before, {todo} to make{tail}")

    def _tell_long_texts(self, job: TextJob) -> None:
        counts, limit = job.counts, job.encoder.max_tokens
        if counts.in_pieces:
            self.reporter.say(
                f"bank {job.header.name}: {counts.in_pieces} of {counts.texts} texts are longer than the "
                f"encoder's {limit} tokens; they were encoded in pieces, their tokens averaged to as many"
            )
        if counts.cut:
            self.reporter.say(
                f"bank {job.header.name}: {counts.cut} of {counts.texts} texts are longer than the encoder's "
                f"{limit} tokens; {counts.tokens_cut} tokens were cut"
            )


def _check_failures(failed: int, total: int, bound: float) -> None:
    if failed > bound * total:
        raise FindingsError(
            f"{failed} of {total} pictures of all splits failed ({failed / total:.1%}), more than "
            f"max_failure_rate {bound:.1%}; everything finished is kept. Reasons: "
            "`mipd-pipe inspect rows --status failed`"
        )


def _count_texts(job: TextJob) -> int:
    return sum(bool(text) for four in job.texts.values() for text in four)

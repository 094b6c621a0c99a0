"""One picture on its way through the teacher, and the key of everything that decides its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cache.keys import derive_number, fingerprint
from cache.kinds import KINDS, Kind
from cache.rationales import RationaleRow
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.teacher.contrast import ContrastChooser
from stages.teacher.engine import Request
from stages.teacher.prompt import answer_schema, build_prompt, prompt_identity
from stages.teacher.settings import TeacherSettings


@dataclass(slots=True)
class Task:
    """One picture on its way: the open request, the kinds still wanted, and the rows so far."""

    request: Request
    request_key: str
    open_kinds: tuple[Kind, ...]
    attempt: int = 0
    rows: list[RationaleRow] = field(default_factory=list)


class TaskMaker:
    """Turns samples into tasks, the same for the same inputs on every call.

    deciders   the identities of engine and judge: what decides all rows alike
    """

    def __init__(
        self,
        data: DataSet,
        ledger: PictureLedger,
        chooser: ContrastChooser,
        settings: TeacherSettings,
        deciders: Sequence[Mapping[str, Any]],
    ) -> None:
        self._data, self._ledger, self._chooser, self._settings = data, ledger, chooser, settings
        prompt = prompt_identity(settings.prompt)  # the parser's version and the wording of a re-ask included
        self.prompt_id = fingerprint(prompt)[:12]
        self._common = fingerprint([prompt, settings.seed, *map(dict, deciders)])

    def first(self, sample: Sample) -> Task:
        """The task of a picture that was not asked yet."""
        contrast = self._chooser.choose(sample)
        request = Request(
            key="",
            sample=sample,
            contrast=contrast,
            picture=self._data.images_folder / sample.image,
            picture_digest=self._ledger.digest(sample.image),
            prompt=build_prompt(self._settings.prompt, sample, contrast, self._data.vocabulary),
            schema=answer_schema(KINDS, self._settings.max_chars),
            seed=0,
        )
        key = self._request_key(request)
        return Task(self._for_attempt(request, key, 0), key, KINDS)

    def again(self, task: Task, reasons: Mapping[Kind, str]) -> None:
        """Rewrites a task to ask once more for the kinds that have a reason, telling the reasons."""
        task.attempt += 1
        task.open_kinds = tuple(reasons)
        request, name, vocabulary = task.request, self._settings.prompt, self._data.vocabulary
        told = {kind.field: reason for kind, reason in reasons.items()}
        prompt = build_prompt(name, request.sample, request.contrast, vocabulary, told)
        schema = answer_schema(task.open_kinds, self._settings.max_chars)
        request = replace(request, prompt=prompt, schema=schema)
        task.request = self._for_attempt(request, task.request_key, task.attempt)

    def _for_attempt(self, request: Request, request_key: str, attempt: int) -> Request:
        image = request.sample.image
        seed = derive_number("sampling", self._settings.seed, image, attempt, bits=31)
        return replace(request, key=f"{image}#{attempt}#{request_key[:8]}", seed=seed)

    def _request_key(self, request: Request) -> str:
        """Fingerprint of everything that decides a picture's rows.

        Left out, because they cannot change a row: the picture's path (its bytes count), settings of speed
        (see `Engine.identity`), and `judge.max_attempts`, which only bounds how many rows there are.
        """
        return fingerprint(
            [
                self._common,
                asdict(request.prompt),
                request.schema,
                request.picture_digest,
                [request.contrast.verb, dict(request.contrast.nouns)],
                _annotation(request.sample),
                request.sample.captions if self._settings.engine == "captions" else None,
            ]
        )


def _annotation(sample: Sample) -> list[Any]:
    return [sample.verb, sample.width, sample.height, sample.roles, sample.nouns, sample.boxes]

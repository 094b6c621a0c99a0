"""The requests about one picture, and the key of everything that decides its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from cache.keys import derive_number, fingerprint
from cache.kinds import KINDS, Kind
from stages.batches import batches
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.prompt import answer_schema, build_prompt, prompt_identity
from stages.teacher.asking.request_keys import RequestKeys, task_inputs
from stages.teacher.engines.engine import Request
from stages.teacher.settings import TeacherSettings

AT_ONCE = 256  # pictures that are prepared together
_LONG = 80  # characters of a setting that a message shows
KEY_VERSION = 1  # raise it when a request key is made in another way: remembered ones are then forgotten


class TaskMaker:
    """Turns samples into requests, the same for the same inputs on every call.

    terms      what decides all rows alike, by name and as text

    deciders   identities of the engine, the rules and the judging model, if any: what decides all rows alike
    known      request keys worked out by earlier calls: half a minute for SWiG without them
    """

    def __init__(
        self,
        data: DataSet,
        ledger: PictureLedger,
        chooser: ContrastChooser,
        settings: TeacherSettings,
        deciders: Sequence[Mapping[str, Any]],
        known: RequestKeys,
    ) -> None:
        self._data, self._ledger, self._chooser, self._settings = data, ledger, chooser, settings
        self.known = known
        prompt = prompt_identity(settings.prompt)  # the parser's version and the wording of a re-ask included
        self.prompt_id = fingerprint(prompt)[:12]
        self.terms = _named(
            "",
            {
                **dict(zip(("teacher", "rules", "judge"), deciders, strict=False)),
                "prompt": prompt,
                "contrasts": {"k": settings.contrast_k, "fingerprint": chooser.identity},
                **{name: getattr(settings, name) for name in ("requests", "seed", "max_chars")},
                "data": data.fingerprint,
            },
        )
        decided = [prompt, settings.seed, settings.requests, *map(dict, deciders)]
        self._common = fingerprint(decided)
        frames = {verb: asdict(frame) for verb, frame in data.vocabulary.frames.items()}
        words = [frames, dict(data.vocabulary.glosses)]
        self._inputs = fingerprint([KEY_VERSION, self._common, chooser.identity, settings.max_chars, words])

    def request_key(self, sample: Sample) -> str:
        """Fingerprint of everything that decides a picture's rows.

        Left out, because they cannot change a row: the picture's path (its bytes count), settings of speed
        (see `Engine.identity`), and `judge.max_attempts`, which only bounds how many rows there are.
        """
        inputs = self._inputs_of(sample)
        key = self.known.find(sample.image, inputs)
        if key is None:
            key = self._request_key(self._base(sample))
            self.known.remember(sample.image, inputs, key)
        return key

    def request_keys(self, samples: Sequence[Sample]) -> list[str]:
        """The request key of each sample; of many that are not known, in half the time."""
        keys = []
        for some in batches(samples, AT_ONCE):
            self.prepare([s for s in some if self.known.find(s.image, self._inputs_of(s)) is None])
            keys += [self.request_key(sample) for sample in some]
        return keys

    def prepare(self, samples: Iterable[Sample]) -> None:
        """Works out together what the requests of up to `AT_ONCE` pictures need: in half the time."""
        self._chooser.prepare(samples)

    def _inputs_of(self, sample: Sample) -> str:
        digest = self._ledger.digest(sample.image)
        return task_inputs(self._inputs, sample, digest, self._imported(sample))

    def _request_key(self, request: Request) -> str:
        sample = request.sample
        return fingerprint(
            [
                self._common,
                asdict(request.prompt),
                request.schema,
                request.picture_digest,
                [request.contrast.verb, dict(request.contrast.nouns)],
                [sample.verb, sample.width, sample.height, sample.roles, sample.nouns, sample.boxes],
                self._imported(sample),
            ]
        )

    def _imported(self, sample: Sample) -> tuple[str, ...] | None:
        return sample.captions if self._settings.imports else None

    def _base(self, sample: Sample) -> Request:
        """The first request about a picture, for all its rationales; without a key of its own."""
        contrast = self._chooser.choose(sample)
        return Request(
            key="",
            sample=sample,
            contrast=contrast,
            picture=self._data.images_folder / sample.image,
            picture_digest=self._ledger.digest(sample.image),
            prompt=build_prompt(self._settings.prompt, sample, contrast, self._data.vocabulary),
            schema=answer_schema(KINDS, self._settings.max_chars),
            seed=0,
        )

    def requests(
        self,
        sample: Sample,
        attempt: int = 0,
        kinds: Sequence[Kind] = KINDS,
        reasons: Mapping[Kind, str] | None = None,
    ) -> dict[Kind, Request]:
        """The request that asks for each of the rationales `kinds` of a picture, for the given attempt.

        Asked together, it is the same one for all of them. `reasons` says why earlier texts were rejected.
        """
        base = self._base(sample)
        if self._settings.requests == "together":
            request = self._for_kinds(base, attempt, kinds, reasons, "")
            return dict.fromkeys(kinds, request)
        return {kind: self._for_kinds(base, attempt, [kind], reasons, kind.field) for kind in kinds}

    def _for_kinds(
        self,
        base: Request,
        attempt: int,
        kinds: Sequence[Kind],
        reasons: Mapping[Kind, str] | None,
        name: str,
    ) -> Request:
        sample, settings = base.sample, self._settings
        told = {kind: reason for kind, reason in (reasons or {}).items() if kind in kinds}
        prompt = build_prompt(settings.prompt, sample, base.contrast, self._data.vocabulary, kinds, told)
        parts = [sample.image, attempt, *([name] if name else [])]
        return replace(
            base,
            key="#".join(map(str, parts)),
            prompt=prompt,
            schema=answer_schema(kinds, settings.max_chars),
            seed=derive_number("sampling", settings.seed, *parts, bits=31),
        )


def _named(name: str, value: Any) -> dict[str, str]:
    """The values within a nested mapping by their dotted names; a long one is told by its fingerprint."""
    if not isinstance(value, Mapping):
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
        return {name: text if len(text) <= _LONG else f"fingerprint {fingerprint(text)[:12]}"}
    found: dict[str, str] = {}
    for key, part in value.items():
        found |= _named(f"{name}.{key}" if name else key, part)
    return found

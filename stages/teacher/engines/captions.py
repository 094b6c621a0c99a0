"""A teacher that has already spoken: rationales that came with the annotations, as Ov-SWiG's captions do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cache.kinds import KINDS
from stages.teacher.engines.engine import Answer, Request

CAPTIONS_VERSION = 1  # enters the request key: raise it when the same captions would be read differently


_ABSENT = {
    "captions": "the annotation has no captions to import",
    "jsonl": "the file named by teacher.jsonl has no line for the picture",
}


class CaptionsEngine:
    """Answers with the captions of the sample; a kind without one is empty, which the judge rejects.

    Which wrong verb and nouns a negative caption describes is not published, so its row names no contrast.

    source  where the captions came from, as rows name their teacher: ``captions`` or ``jsonl``
    """

    def __init__(self, source: str = "captions") -> None:
        self._source = source

    def identity(self) -> Mapping[str, Any]:
        return {"teacher": self._source, "revision": str(CAPTIONS_VERSION), "sampling": {}}

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            captions = request.sample.captions
            if captions is None:
                yield Answer(request.key, "", "error", error=_ABSENT[self._source])
                continue
            asked = request.schema["properties"]
            fields = ((kind.field, text) for kind, text in zip(KINDS, captions, strict=True))
            texts = {name: text for name, text in fields if name in asked}
            yield Answer(request.key, json.dumps(texts, ensure_ascii=False), "stop")

    def close(self) -> None:
        """There is nothing to free."""

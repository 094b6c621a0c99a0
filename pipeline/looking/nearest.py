"""The rationales nearest to a vector or a text, with what the judge said of them.

B queries, E numbers of a pooled text vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cache.bank_header import RATIONALE_TEXT, read_header
from cache.errors import UserError
from cache.index import VectorIndex
from cache.keys import fingerprint
from cache.paths import StorePaths
from cache.rationales import read_rationales
from cache.vectors import RATIONALES, Floats, VectorKey
from pipeline.looking.row_filter import check_filters, narrow
from stages.teacher.encoders.encoder import TextEncoder

REPLACED = "(no longer in use: run `mipd-pipe embed-teacher`)"
_KEY = ("image", "aspect", "polarity")
_COLUMNS = (*_KEY, "verb", "text", "status", "judge", "score", "reason")


@dataclass(frozen=True, slots=True)
class RationaleHit:
    """A rationale and the cosine similarity of its vector to what was asked.

    status, judge, score, reason  the verdict; score is None where only rules judged

    A rationale that was replaced after it was embedded has only its key, and `REPLACED` for its text.
    """

    image: str
    aspect: str
    polarity: str
    similarity: float
    verb: str = ""
    text: str = REPLACED
    status: str = ""
    judge: str = ""
    score: int | None = None
    reason: str = ""


def nearest_rationales(
    store: StorePaths, vectors: Floats, count: int, filters: Mapping[str, str] | None = None
) -> list[list[RationaleHit]]:
    """The `count` usable rationales nearest to each vector [B, E], nearest first.

    vectors  of the text encoder that embedded the rationales (`encode_like_rationales`)
    filters  verb, aspect, polarity of those that may be found; all of those are compared, whatever the index

    Raises UserError for a filter that nothing could meet, another width, or a missing or stale index.
    """
    check_filters(filters or {})
    rows = read_rationales(store, _COLUMNS).filter("usable")
    among = None
    if filters:
        allowed = narrow(rows, filters).select(_KEY).iter_rows()
        among = [VectorKey(*key).id for key in allowed]
    verdicts = {
        (row["image"], row["aspect"], row["polarity"]): row
        for row in rows.select(_COLUMNS).iter_rows(named=True)
    }
    found = VectorIndex(store, RATIONALES).search(vectors, count, among)

    def described(image: str, aspect: str, polarity: str, similarity: float) -> RationaleHit:
        row = verdicts.get((image, aspect, polarity))
        if row is None:
            return RationaleHit(image, aspect, polarity, similarity)
        return RationaleHit(**row, similarity=similarity)

    return [
        [described(hit.image, hit.aspect, hit.polarity, hit.similarity) for hit in hits] for hits in found
    ]


def encode_like_rationales(store: StorePaths, encoder: TextEncoder, texts: Sequence[str]) -> Floats:
    """Texts -> vectors [B, E] that can be compared with those of the rationales.

    Raises UserError where the rationales were embedded by another encoder.
    """
    made_by = read_header(store, RATIONALE_TEXT).encoder
    if fingerprint(dict(encoder.identity())) != fingerprint(made_by):
        raise UserError(
            "the rationales were embedded by another text encoder than `embed.text` names, so nearness would "
            "mean nothing; put the setting back, or run `mipd-pipe embed-teacher`"
        )
    return encoder.encode(list(texts)).pooled

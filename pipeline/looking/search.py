"""`mipd-pipe inspect search`: the rationales nearest to a text, or the pictures nearest to a picture."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cache.bank_header import STUDENT_VISION, read_header
from cache.errors import UserError
from cache.index import VectorIndex
from cache.keys import fingerprint
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.vectors import PICTURES, Floats, NewestVectors, VectorKey
from pipeline.looking.nearest import encode_like_rationales, nearest_rationales
from pipeline.result import Result
from pipeline.table import render, shorten
from pipeline.workspace import Workspace
from stages.data.pictures import open_picture
from stages.data.sample import Sample
from stages.teacher.embedding.bank_jobs import pool
from stages.teacher.encoders.encoder import VisionEncoder

_OF_RATIONALES = ("aspect", "polarity")


def search(
    workspace: Workspace, text: str | None, image: str | None, filters: Mapping[str, str], count: int
) -> Result:
    """By exactly one of a text and a picture. Raises UserError where it is none or both."""
    workspace.store.require()
    if (text is None) == (image is None):
        raise UserError(
            'give either a text or --image: `mipd-pipe inspect search "a horse"` finds rationales, '
            "`mipd-pipe inspect search --image FILE` pictures"
        )
    if text is not None:
        return _search_rationales(workspace, text, filters, count)
    assert image is not None
    return _search_pictures(workspace, image, filters, count)


def _search_rationales(workspace: Workspace, text: str, filters: Mapping[str, str], count: int) -> Result:
    from stages.teacher.encoders.sources import open_text

    if not text.strip():
        raise UserError(
            'the search text is empty; give a few words, e.g. `mipd-pipe inspect search "a horse"`'
        )
    with closing(open_text(workspace.config.embed.text)) as encoder:
        query = encode_like_rationales(workspace.store, encoder, [text])
    (hits,) = nearest_rationales(workspace.store, query, count, filters)
    cells = [[hit.similarity, hit.image, f"{hit.polarity} {hit.aspect}", shorten(hit.text)] for hit in hits]
    return Result(render(["cosine", "image", "rationale", "text"], cells), [asdict(hit) for hit in hits])


def _search_pictures(workspace: Workspace, image: str, filters: Mapping[str, str], count: int) -> Result:
    """A name that the store knows is that picture, itself left out of the hits; anything else is a file."""
    odd = [name for name in _OF_RATIONALES if name in filters]
    if odd:
        raise UserError(f"--{odd[0]} does not go with --image: pictures have no {odd[0]}; filter by --verb")
    samples = {sample.image: sample for sample in workspace.data.samples}
    among = _of_verb(samples, filters["verb"]) if "verb" in filters else None
    index = VectorIndex(workspace.store, PICTURES)
    stored = stored_vector(workspace.store, image)
    query = _encode(workspace, Path(image)) if stored is None else stored
    hits = index.search(query[None], count + (stored is not None), among)[0]
    others = [hit for hit in hits if stored is None or hit.image != image][:count]
    found = [
        {"image": hit.image, "similarity": hit.similarity, **_annotation(workspace, samples.get(hit.image))}
        for hit in others
    ]
    cells = [[hit["similarity"], hit["image"], hit["verb"], shorten(_nouns(hit["nouns"]))] for hit in found]
    return Result(render(["cosine", "image", "verb", "nouns"], cells), found)


def _of_verb(samples: Mapping[str, Sample], verb: str) -> list[int]:
    ids = [VectorKey(image).id for image, sample in samples.items() if sample.verb == verb]
    if not ids:
        raise UserError(
            f"--verb {verb!r}: no picture of the data set shows it; `mipd-pipe check-data` counts the verbs"
        )
    return ids


def stored_vector(store: StorePaths, image: str) -> Floats | None:
    """The pooled vector [E] of a picture of the store; None where it has none."""
    newest = NewestVectors(store, PICTURES, load_manifest(store).in_force("vectors", PICTURES))
    id_ = VectorKey(image).id
    if newest.keys.filter(pl.col("id") == id_).is_empty():
        return None
    ((_, vectors),) = newest.blocks(only=np.array([id_]))
    return np.asarray(vectors[0], np.float32)


def _encode(workspace: Workspace, path: Path) -> Floats:
    """The pooled vector of a picture file, made as those of the store were."""
    from stages.teacher.encoders.sources import open_vision

    if not path.exists():
        raise UserError(
            f"--image {path} is neither a picture of the store nor a file; "
            "`mipd-pipe inspect rows` prints names of pictures"
        )
    encoder = open_vision(workspace.config.embed.student_vision)
    _require_same(workspace.store, encoder)
    frame = encoder.geometry.place(open_picture(path, workspace.config.data.max_image_pixels))
    (vector,) = pool(encoder.encode(frame[None]), encoder.geometry)
    return np.asarray(vector, np.float32)


def _require_same(store: StorePaths, encoder: VisionEncoder) -> None:
    header = read_header(store, STUDENT_VISION)
    mine = [dict(encoder.identity()), encoder.geometry.to_json()]
    if fingerprint(mine) != fingerprint([header.encoder, header.geometry]):
        raise UserError(
            "the pictures were embedded by another encoder than `embed.student_vision` names, so nearness "
            "would mean nothing; put the setting back, or run `mipd-pipe embed-teacher`"
        )


def _annotation(workspace: Workspace, sample: Sample | None) -> dict[str, Any]:
    """Verb, and of each role the different nouns that annotators gave; nothing of a picture that left."""
    if sample is None:
        return {"verb": "", "nouns": {}}
    gloss = workspace.data.vocabulary.gloss
    given = zip(sample.roles, sample.nouns, strict=True)
    nouns = {role: list(dict.fromkeys(gloss(noun) for noun in three if noun)) for role, three in given}
    return {"verb": sample.verb, "nouns": nouns}


def _nouns(nouns: Mapping[str, list[str]]) -> str:
    return ", ".join(f"{role} {'/'.join(given)}" for role, given in nouns.items() if given)

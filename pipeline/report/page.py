"""Puts the page together: template, style, script, figures and data, each in its place.

Nothing a model wrote can act. Figures are escaped here; the gallery's data stands in blocks that a browser
does not run, and the script sets it as text alone; and a Content-Security-Policy lets only this style and
this script, known by their digests, have any effect.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from pipeline.report.data import Picture
from pipeline.report.facts import Facts
from pipeline.report.overview import overview
from pipeline.report.predictions import Predictions
from pipeline.report.thumbnails import Thumbnail
from stages.batches import batches

_PER_BLOCK = 50  # thumbnails read at once: enough for a screen, little to wait for
# In this order: each uses what stands above it.
_SCRIPTS = ("elements.js", "gallery.js", "store.js", "predictions.js", "page.js")
_SLOT = re.compile(r"\{\{(\w+)\}\}")
# What could end a script element or, in old browsers, a line of it.
_RISKY = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def script_json(value: Any) -> str:
    """JSON that can stand in a `<script>` element whatever its texts hold."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_RISKY)


@dataclass(frozen=True, slots=True)
class Gallery:
    """All of the gallery but its thumbnails.

    sentences  of each verb, e.g. ``AGENT jumps over OBSTACLE at PLACE``
    notes      what the gallery does without, and why
    shown      says how many of how many pictures it holds
    """

    pictures: Sequence[Picture]
    sentences: Mapping[str, str]
    notes: Sequence[str]
    shown: str

    def json(self, missing: Mapping[int, str]) -> str:
        """The block the script reads. `missing` says why a picture, by its number, cannot be shown."""
        verbs = {picture.verb for picture in self.pictures}
        return script_json(
            {
                "pictures": [asdict(picture) for picture in self.pictures],
                "verbs": {verb: text for verb, text in self.sentences.items() if verb in verbs},
                "notes": list(self.notes),
                "missing": {str(number): reason for number, reason in missing.items()},
                "perBlock": _PER_BLOCK,
            }
        )


def predictions_json(predictions: Predictions, thumbnail_of: Mapping[str, int]) -> str:
    """The block of the predictions. `thumbnail_of` is the number of each image's thumbnail."""
    evidence = predictions.evidence
    said = [
        {**asdict(one), "thumbnail": thumbnail_of[image]}
        for image, one in zip(predictions.images, predictions.said, strict=True)
    ]
    missing = evidence.missing and f"nearest rationales are left out: {evidence.missing}"
    return script_json(
        {
            "said": said,
            "rationales": [asdict(one) for one in evidence.rationales],
            "notes": [note for note in (predictions.note, missing) if note],
        }
    )


def page_parts(
    title: str,
    facts: Facts,
    gallery: Gallery,
    predictions: Predictions,
    thumbnails: Mapping[str, Thumbnail],
) -> Iterator[str]:
    """The page in pieces, in order; the thumbnails come last, so that the gallery works before they are read.

    thumbnails  by image: of every picture of the gallery, in its order, and then of the predictions that
                show another
    """
    style, script = _file("page.css"), _script()
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    slots = {
        "policy": policy,
        "style": style,
        "script": script,
        "gallery": gallery.json({i: one.missing for i, one in enumerate(thumbnails.values()) if not one.url}),
        "predictions": predictions_json(predictions, {image: i for i, image in enumerate(thumbnails)}),
        **overview(title, facts, gallery.shown, predictions),
    }
    # One pass: what is put in is not looked at again, so a text that holds "{{" stays a text.
    head, tail = (
        _SLOT.sub(lambda slot: slots[slot[1]], half) for half in _file("page.html").split("<!--thumbnails-->")
    )
    yield head
    yield from _thumbnail_blocks([one.url for one in thumbnails.values()])
    yield tail


def _thumbnail_blocks(urls: Sequence[str]) -> Iterator[str]:
    for number, block in enumerate(batches(urls, _PER_BLOCK)):
        yield f'<script type="application/json" id="thumbnails-{number}">'
        yield f"{script_json(list(block))}</script>\n"


def _script() -> str:
    """The files in one function: they share names, and none of these reaches the page's window."""
    return "\n".join(['"use strict";', "(() => {", *map(_file, _SCRIPTS), "})();"])


def _file(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

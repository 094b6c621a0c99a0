"""A store of drawn scenes whose rationales were written by somebody who means harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cache.kinds import KINDS, Kind
from cache.paths import StorePaths
from cache.rationales import QuarantineRow, append_quarantine, append_rationales, read_rationales
from pipeline.config import Config
from pipeline.stage_one import embed_teacher, generate_rationales
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, row

# Each acts in one of the places a text can stand in: HTML, an attribute, a script, a template, a terminal.
HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'><svg onload=window.pwned=1>"
    "</script></textarea><!--<script>--> {{gallery}} <!--thumbnails--> `${window.pwned=1}` &amp;&lt; "
    "\x1b[31mred\x9b2J \u202edlrow\u2028line\u2029\x00 end"
)
# The same as it is shown: what cannot be seen is spelled out, and nothing else is changed.
SHOWN = (
    HOSTILE.replace("\x1b", "\\x1b")
    .replace("\x9b", "\\x9b")
    .replace("\x00", "\\x00")
    .replace("\u202e", "\\u202e")
    .replace("\u2028", "\\u2028")
    .replace("\u2029", "\\u2029")
)
REASON = f"the judge gave 2 of 5 points, fewer than min_score 3: {HOSTILE}"
FAILURE = f"the answer is not JSON: {HOSTILE}"


def attempts(image: str, verb: str) -> list[dict[str, Any]]:
    """Four rationales: one rejected and then accepted, two accepted at once, one rejected for good."""
    same: dict[str, Any] = {
        "key": "hostile",
        "verb": verb,
        "judge": f"rules-2+{HOSTILE}",
        "finish_reason": HOSTILE,
    }
    positive, negative, gaze, wrong = KINDS
    rejected: dict[str, Any] = {"status": "rejected", "score": 2, "reason": REASON}
    return [
        row(image, positive, attempt=0, text=f"a rejected first try {HOSTILE}", seed=1, **rejected, **same),
        row(image, negative, attempt=0, text=f"a wrong scene {HOSTILE}", score=3, seed=1, **same),
        row(image, gaze, attempt=0, text="a plain zanzibar text", score=5, seed=1, **same),
        row(image, wrong, attempt=0, text="a hopeless text", seed=1, **rejected, **same),
        row(image, positive, attempt=1, text=f"an accepted second try {HOSTILE}", score=4, seed=2, **same),
    ]


def write_hostile_store(config: Config) -> tuple[str, str]:
    """Runs stage one; then one picture gets hostile rationales and another a hostile failure.

    Returns the two images.
    """
    workspace = Workspace(config)
    generate_rationales(workspace)
    embed_teacher(workspace)
    store = StorePaths(config.store)
    rows = read_rationales(store, ["image", "verb"])
    image, verb = rows.row(0)[:2]
    append_rationales(store, attempts(image, verb), PRODUCER)
    failed = "never_there.jpg"
    failure = QuarantineRow(failed, "generate-rationales", FAILURE, 3, f"raw {HOSTILE}", "")
    append_quarantine(store, [failure], PRODUCER)
    return image, failed


def kind_of(picture: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """A rationale of a picture of the page's data."""
    (found,) = (r for r in picture["rationales"] if (r["aspect"], r["polarity"]) == kind)
    assert isinstance(found, dict)
    return found


def report_of(config: Config) -> Path:
    return config.run_dir / "report.html"

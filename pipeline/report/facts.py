"""What the top of the page says of the whole run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cache.errors import UserError
from cache.kinds import KINDS, Kind
from cache.manifest import Manifest
from cache.rationales import SCHEMA
from pipeline.looking import inspect
from pipeline.table import size
from pipeline.workspace import Workspace
from stages.printable import printable

WARNING = "Warning"  # name of the pair that says what is not as it should be


@dataclass(frozen=True, slots=True)
class KindFigures:
    """One kind of rationale over the whole store.

    accepted  pictures with a text that training reads
    rejected  attempts
    lacking   pictures without such a text
    words     length of every text that training reads
    """

    name: str
    accepted: int
    rejected: int
    lacking: int
    attempts: int
    mean_score: float | None
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything above the gallery.

    pairs       what was run on what, as names and values
    attempts    how often each rationale was asked for
    tokens_out  of each answer of the teacher, 0 left out; an answer may hold several rationales
    rejected    attempts by reason; `failed` pictures by reason
    banks       rows of `inspect summary`
    shortcut    AUC by aspect, None = unknown
    metrics     of the student, as `evaluate` wrote them; None = not evaluated yet
    """

    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    pictures: int
    kinds: tuple[KindFigures, ...]
    scores: tuple[int, ...]
    attempts: tuple[int, ...]
    tokens_in: int
    tokens_out: tuple[int, ...]
    rejected: Mapping[str, int]
    failed: Mapping[str, int]
    older_rows: int
    banks: tuple[Mapping[str, Any], ...]
    shortcut: Mapping[str, float | None]
    metrics: Mapping[str, Any] | None


def read_facts(workspace: Workspace, manifest: Manifest, rows: pl.DataFrame) -> Facts:
    """`rows` are all rows of the store, with all columns. Raises UserError where a file is damaged."""
    told = inspect.summary(workspace).data
    current = rows.filter("current")
    # The texts of one answer share its seed and its tokens; another attempt has another seed.
    answers = current.unique(["image", "request_key", "attempt", "seed"], maintain_order=True)
    tokens_out = answers.filter(pl.col("tokens_out") > 0)["tokens_out"].to_list()
    asked = current.group_by("image", "aspect", "polarity", maintain_order=True).agg(pl.max("attempt") + 1)
    return Facts(
        pairs=tuple(_pairs(workspace, manifest, current, told)),
        notes=tuple(printable(note) for note in workspace.data.notes),
        pictures=told["pictures"],
        kinds=tuple(_kind(current, kind, told["pictures"]) for kind in KINDS),
        scores=tuple(current["score"].drop_nulls().to_list()),
        attempts=tuple(asked["attempt"].to_list()),
        tokens_in=int(answers["tokens_in"].sum()),
        tokens_out=tuple(tokens_out),
        rejected=_printable_keys(told["rejected_because"]),
        failed=_printable_keys(told["failed"]),
        older_rows=told["older_rows"],
        banks=tuple(told["banks"]),
        shortcut=told["shortcut"],
        metrics=_read_metrics(workspace.config.run_dir / "metrics.json"),
    )


def _kind(current: pl.DataFrame, kind: Kind, pictures: int) -> KindFigures:
    own = current.filter((pl.col("aspect") == kind.aspect) & (pl.col("polarity") == kind.polarity))
    usable = own.filter("usable")
    score = own["score"].mean()
    return KindFigures(
        name=f"{kind.polarity} {kind.aspect}",
        accepted=usable.height,
        rejected=int((own["status"] == "rejected").sum()),
        lacking=pictures - usable["image"].n_unique(),
        attempts=max(own["attempt"].to_list(), default=-1) + 1,
        mean_score=float(score) if isinstance(score, int | float) else None,
        words=tuple(usable["text"].str.count_matches(r"\S+").to_list()),
    )


def _pairs(
    workspace: Workspace, manifest: Manifest, current: pl.DataFrame, told: Mapping[str, Any]
) -> list[tuple[str, str]]:
    data, config = workspace.data, workspace.config
    pairs = [
        ("Data", f"{config.data.root} · {len(data.annotated_sizes()):,} annotated pictures"),
        ("Split", data.split_source),
        ("Store", f"{told['store']} · {size(told['bytes'])} in {told['files']} files"),
    ]
    for name, columns in (
        ("Teacher", ("teacher", "revision")),
        ("Prompt", ("prompt_id",)),
        ("Sampling", ("sampling",)),
        ("Judge", ("judge",)),
    ):
        assert set(columns) <= set(SCHEMA.names)
        pairs.append((name, _distinct(current, columns)))
    producers = {_producer(part.producer) for part in manifest.of("rationales")}
    if producers := producers - {""}:
        pairs.append(("Written by", ", ".join(sorted(producers))))
    if manifest.parts:
        pairs.append(("Last change", max(part.written_at for part in manifest.parts)))
    if manifest.data_fingerprint != data.fingerprint:
        recorded = manifest.data_fingerprint or "unknown"
        pairs.append((WARNING, f"the store was written for data {recorded}, now read is {data.fingerprint}"))
    return [(name, printable(value)) for name, value in pairs]


def _distinct(current: pl.DataFrame, columns: tuple[str, ...]) -> str:
    """The values that occur, the most frequent first, with their rows where there are several."""
    counted = (
        current.group_by(columns).len().sort("len", *columns, descending=[True, *[False] * len(columns)])
    )
    found = [(" ".join(str(v) for v in row[:-1] if v), row[-1]) for row in counted.iter_rows()]
    if len(found) == 1:
        return found[0][0] or "not recorded"
    return ", ".join(f"{name or 'not recorded'} ({count:,} rows)" for name, count in found) or "none yet"


def _producer(producer: Mapping[str, Any]) -> str:
    versions = producer.get("versions")
    if not isinstance(versions, dict) or "mipd-pipe" not in versions:
        return ""
    commit = producer.get("commit")
    return f"mipd-pipe {versions['mipd-pipe']}" + (f" at {str(commit)[:12]}" if commit else "")


def _printable_keys(counts: Mapping[str, int]) -> dict[str, int]:
    """Reasons that differ in invisible characters alone are told together."""
    found: dict[str, int] = {}
    for reason, count in counts.items():
        found[printable(reason)] = found.get(printable(reason), 0) + count
    return found


def _read_metrics(path: Path) -> Mapping[str, Any] | None:
    """Raises UserError where the file is there and damaged."""
    try:
        metrics = json.loads(path.read_bytes())
        known = {name: dict(metrics[name]) for name in ("subsets", "harmonic_mean")}
        return {"split": str(metrics["split"]), **known, "intervals": metrics.get("intervals")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as reason:
        raise UserError(
            f"{path} cannot be read ({reason!r}); write it again with `mipd-pipe evaluate`"
        ) from None

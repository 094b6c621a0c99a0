"""`mipd-pipe inspect`: looks into the store and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from cache.bank_header import RATIONALE_TEXT, read_header
from cache.bank_reader import BankReader
from cache.errors import UserError
from cache.fidelity import bank_fidelity
from cache.index import index_records
from cache.kinds import KINDS
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import SCHEMA, read_rationales
from cache.text_counts import TextCounts, combine
from pipeline.looking.duplicates import count_repeated
from pipeline.looking.failures import read_failures
from pipeline.looking.row_filter import FAILED, check_filters, narrow
from pipeline.result import Result
from pipeline.table import csv_text, render, shorten, size
from pipeline.workspace import Workspace
from stages.data.sample import Sample
from stages.printable import printable
from stages.teacher.judging.shortcut import SUSPICIOUS, shortcut_auc

_ASPECTS = tuple(dict.fromkeys(kind.aspect for kind in KINDS))


def summary(workspace: Workspace) -> Result:
    """Counts, verdicts, reasons, banks and sizes."""
    store = workspace.store.require()
    manifest = load_manifest(store)
    frame = read_rationales(store, ["image", "aspect", "polarity", "status", "reason", "text", "attempt"])
    current = frame.filter("current")
    failed = read_failures(store)
    banks = [
        _bank_summary(workspace, name)
        for name in sorted({p.name for p in manifest.parts if p.kind == "bank"})
    ]
    data: dict[str, Any] = {
        "store": str(store.root),
        "data_fingerprint": manifest.data_fingerprint,
        "pictures": current["image"].n_unique(),
        "complete": _complete(current.filter("usable")),
        "training": _training_pictures(workspace),
        "rationales": _verdicts(current),
        "shortcut": _shortcuts(current.filter("usable")),
        "rejected_because": _counted(current.filter(pl.col("status") == "rejected"), "reason"),
        "older_rows": frame.height - current.height,
        "failed": _counted(failed.filter(~pl.col("mended")), "reason"),
        "mended": int(failed["mended"].sum()),
        "repeated": count_repeated(current.filter("usable")),
        "banks": banks,
        "indexes": _index_summaries(store),
        "texts_embedded": asdict(combine(manifest.in_force("bank", RATIONALE_TEXT)) or TextCounts()),
        "bytes": sum(part.bytes for part in manifest.parts),
        "files": len(manifest.parts),
    }
    return Result(_summary_text(data), data)


def _complete(usable: pl.DataFrame) -> int:
    """Pictures with a usable rationale of every kind."""
    kinds = usable.group_by("image").agg(kinds=pl.struct("aspect", "polarity").n_unique())
    return int((kinds["kinds"] == len(KINDS)).sum())


def _training_pictures(workspace: Workspace) -> int | None:
    """Training entries of the data set, unusable ones included; None where it is not at hand."""
    data = workspace.data_if_there()
    return None if data is None else len(data.split("train")) + len(data.training_errors)


def _verdicts(current: pl.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for aspect, polarity in KINDS:
        kind = current.filter((pl.col("aspect") == aspect) & (pl.col("polarity") == polarity))
        words = kind.filter("usable")["text"].str.split(" ").list.len()
        rows.append(
            {
                "rationale": f"{polarity} {aspect}",
                "accepted": int(kind["usable"].sum()),
                "rejected": int((kind["status"] == "rejected").sum()),
                "mean_words": float(words.mean() or 0.0),  # type: ignore[arg-type]
                "attempts": max(kind["attempt"].to_list(), default=-1) + 1,
            }
        )
    return rows


def _shortcuts(usable: pl.DataFrame) -> dict[str, float | None]:
    """Aspect -> how well words alone tell positive from negative; None where there are too few texts."""
    found: dict[str, float | None] = {}
    for aspect in _ASPECTS:
        texts = usable.filter(pl.col("aspect") == aspect)
        positive = (texts["polarity"] == "positive").to_list()
        found[aspect] = shortcut_auc(texts["text"].to_list(), positive, texts["image"].to_list())
    return found


def _shortcut_lines(found: Mapping[str, float | None]) -> list[str]:
    if all(auc is None for auc in found.values()):
        return ["shortcut probe: too few usable texts of both sides to tell"]
    told = (f"{'unknown' if auc is None else f'{auc:.2f}'} ({aspect})" for aspect, auc in found.items())
    lines = [
        "shortcut probe: words alone tell positive from negative with AUC "
        f"{', '.join(told)}; 0.5 = not at all"
    ]
    easy = [aspect for aspect, auc in found.items() if auc is not None and auc > SUSPICIOUS]
    if easy:
        lines.append(
            f"warning: {' and '.join(easy)} above {SUSPICIOUS}: negatives that their words give away teach "
            "little of the picture; read some with `mipd-pipe inspect rows --polarity negative`"
        )
    return lines


def _counted(frame: pl.DataFrame, column: str) -> dict[str, int]:
    counts = frame.group_by(column).len().sort(["len", column], descending=[True, False])
    return dict(counts.iter_rows())


def _bank_summary(workspace: Workspace, name: str) -> dict[str, Any]:
    header = read_header(workspace.store, name)
    manifest = load_manifest(workspace.store)
    parts, fidelity = manifest.in_force("bank", name), bank_fidelity(manifest, name)
    return {
        "bank": name,
        "rows": len(BankReader(workspace.store, name)),
        "shape": "x".join(map(str, header.shape)),
        "storage": header.storage,
        "shards": len(parts),
        "size": size(sum(part.bytes for part in parts)),
        "bytes_per_picture": header.row_bytes,
        # To the fp32 tokens the rows were made of; None of shards written before it was measured.
        "mean_cosine": fidelity and fidelity.mean_cosine,
        "worst_cosine": fidelity and fidelity.worst_cosine,
    }


def _how_many(data: Mapping[str, Any]) -> str:
    if data["training"] is None:
        of = f"{data['pictures']} pictures with rationales (of how many is unknown without the data)"
    else:
        of = f"{data['training']} training pictures, {data['pictures']} of which have some"
    return f"all four rationales are usable of {data['complete']} of {of}"


def _index_summaries(store: StorePaths) -> list[dict[str, Any]]:
    """How well each index finds is what was measured when it was built."""
    return [
        {
            "index": record.family,
            "kind": record.plan.kind,
            "vectors": record.plan.count,
            "width": record.plan.width,
            "lists": record.plan.lists,
            "code_bytes": record.plan.code,
            "looks_at": record.trial.effort or "all",
            "recall@10": record.trial.recall,
            "size": size(record.bytes),
            "current": record.current,
        }
        for record in index_records(store)
    ]


def _summary_text(data: Mapping[str, Any]) -> str:
    lines = [f"store {data['store']}: {size(data['bytes'])} in {data['files']} files", ""]
    verdicts = data["rationales"]
    lines += [
        _how_many(data),
        render(list(verdicts[0]), [list(row.values()) for row in verdicts]),
    ]
    lines += _shortcut_lines(data["shortcut"])
    if data["repeated"]:
        lines.append(
            f"{data['repeated']} usable rationales have the very text of another picture; "
            "see them with `mipd-pipe inspect duplicates`"
        )
    if data["older_rows"]:
        lines.append(f"{data['older_rows']} rows of earlier versions are kept beside them")
    for title, key in (("rejected because", "rejected_because"), ("pictures failed because", "failed")):
        if data[key]:
            lines += ["", title, *(f"  {count} x {printable(reason)}" for reason, count in data[key].items())]
    if data["mended"]:
        lines.append(f"mended since: {data['mended']}; `mipd-pipe inspect rows --status failed --versions`")
    if data["banks"]:
        lines += [
            "",
            "banks",
            render(list(data["banks"][0]), [_bank_cells(bank) for bank in data["banks"]]),
            *_long_text_lines(TextCounts(**data["texts_embedded"])),
        ]
    else:
        lines += ["", "no banks yet: make them with `mipd-pipe embed-teacher`"]
    if data["indexes"]:
        indexes = [
            {
                name: "no: run `mipd-pipe embed-teacher`" if value is False else value
                for name, value in row.items()
            }
            for row in data["indexes"]
        ]
        head = list(indexes[0])
        lines += ["", "indexes", render(head, [list(index.values()) for index in indexes])]
    return "\n".join(lines)


def _long_text_lines(counts: TextCounts) -> list[str]:
    if not counts.texts:
        return []
    return [
        f"of {counts.texts} texts embedded, {counts.in_pieces} were longer than the encoder's limit and "
        f"encoded in pieces, {counts.cut} were cut by {counts.tokens_cut} tokens in all"
    ]


def _bank_cells(bank: Mapping[str, Any]) -> list[object]:
    """A cosine is rounded down: 1.00000 is said of nothing that lost anything."""
    return [
        ("unknown" if value is None else f"{math.floor(value * 1e5) / 1e5:.5f}")
        if name.endswith("_cosine")
        else value
        for name, value in bank.items()
    ]


def rows(
    workspace: Workspace, filters: Mapping[str, str], versions: bool, limit: int, as_csv: bool = False
) -> Result:
    """Rationale rows, or what failed and is not mended where `status` is "failed"; as a table, or as CSV.

    versions  replaced rows, or mended failures, as well
    """
    store = workspace.store.require()
    check_filters(filters)
    if filters.get("status") == FAILED:
        frame = read_failures(store)
        frame = narrow(
            frame if versions else frame.filter(~pl.col("mended")),
            {name: value for name, value in filters.items() if name != "status"},
        )
        columns = ["image", "stage", "attempts", "reason", "raw", *(["mended"] if versions else [])]
    else:
        frame = read_rationales(store)
        frame = narrow(frame if versions else frame.filter("current"), filters)
        columns = ["image", "verb", "polarity", "aspect", "attempt", "status", "text", "reason"]
        columns += ["score"] if "score" in filters else []
    shown = frame.head(limit) if limit else frame
    more = f"{shown.height} of {frame.height} rows; see more with --limit"
    if as_csv:
        if shown.height < frame.height:
            workspace.console.say(f"note: {more}")
        return Result(csv_text(shown.columns, shown.iter_rows()), shown.to_dicts())
    cells = [[shorten(value) for value in row] for row in shown.select(columns).iter_rows()]
    text = render(columns, cells) if cells else "no such rows"
    return Result(f"{text}\n{more}" if shown.height < frame.height else text, shown.to_dicts())


def show(workspace: Workspace, image: str) -> Result:
    """The annotation, all attempts and verdicts, and the banks of one picture."""
    store = workspace.store.require()
    known = workspace.data_if_there()
    sample = None if known is None else next((s for s in known.samples if s.image == image), None)
    frame = read_rationales(store).filter(pl.col("image") == image)
    failures = read_failures(store).filter(pl.col("image") == image)
    names = sorted({part.name for part in load_manifest(store).parts if part.kind == "bank"})
    banks = [name for name in names if image in BankReader(store, name)]
    if sample is None and frame.is_empty() and failures.is_empty() and not banks:
        raise UserError(
            f"no picture {image!r} in the data set or the store; "
            "give a file name as `mipd-pipe inspect rows` prints it"
        )
    data = {
        "image": image,
        "annotation": None if sample is None else asdict(sample),
        "rationales": frame.to_dicts(),
        "failures": failures.to_dicts(),
        "banks": banks,
    }
    lines = [_stored_head(image, frame)] if sample is None else _annotation_lines(workspace, sample)
    for row in frame.filter("current").select(SCHEMA.names).iter_rows(named=True):
        verdict = row["status"] + (f": {row['reason']}" if row["reason"] else "")
        lines += [
            "",
            f"{row['polarity']} {row['aspect']} (attempt {row['attempt']}, {verdict})",
            f"  {row['text']}",
        ]
    lines += [
        f"failed in {row['stage']}: {row['reason']}" + (" (mended since)" if row["mended"] else "")
        for row in failures.iter_rows(named=True)
    ]
    lines += ["", "banks: " + (", ".join(banks) or "none")]
    return Result(printable("\n".join(lines)), data)


def _stored_head(image: str, frame: pl.DataFrame) -> str:
    """What the rationales' rows tell of the picture where its annotation is not at hand."""
    told = frame.filter("current").select("verb", "split").unique().sort("verb", "split").iter_rows()
    return f"{image}: " + (", ".join(f"{verb} ({split})" for verb, split in told) or "no rationale")


def _annotation_lines(workspace: Workspace, sample: Sample) -> list[str]:
    data = workspace.data
    head = f"{sample.image}: {sample.verb} ({data.subset_of[sample.verb]}, {sample.split})"
    size_ = f"{sample.width} x {sample.height} pixels, {data.picture(sample.image)}"
    table = []
    for role, nouns, box in zip(sample.roles, sample.nouns, sample.boxes, strict=True):
        glosses = " / ".join(dict.fromkeys(data.vocabulary.gloss(noun) if noun else "-" for noun in nouns))
        table.append([role, glosses, "none" if box is None else " ".join(f"{v:.0f}" for v in box)])
    return [head, size_, render(["role", "noun", "box x1 y1 x2 y2"], table)]

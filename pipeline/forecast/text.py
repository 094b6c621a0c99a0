"""The forecast as short tables for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.table import render, size

_COUNTS = {
    "training": "training pictures",
    "finished": "finished",
    "to_ask": "to ask",
    "changed": "  of them finished before, changed since",
    "reverted": "back to an earlier version, unasked",
    "failed_before": "failed before, not asked again without --retry-failed",
    "unusable": "cannot be used",
}
_CHANGED = (
    "{} finished pictures no longer have the prompt, model, picture or annotation they were asked with: they "
    "are asked again, and their older rows stay readable until `mipd-pipe inspect compact`"
)

Data = Mapping[str, Any]


def plan_text(data: Data) -> str:
    blocks = [_pictures(data), _spending(data), _disk(data["disk"]), _memory(data["memory"]), _fit(data)]
    return "\n\n".join(block for block in blocks if block)


def _pictures(data: Data) -> str:
    counts = data["pictures"]
    known = {name: counts[name] for name in _COUNTS if counts[name] is not None}
    shown = {name: count for name, count in known.items() if count or name in ("training", "to_ask")}
    lines = [render(["pictures", "number"], [(_COUNTS[name], count) for name, count in shown.items()])]
    if data["unknown"] and not data["missing"]:
        lines.append(f"which of them are finished is unknown: {data['unknown']}")
    if counts["changed"]:
        lines.append(_CHANGED.format(counts["changed"]))
    return "\n".join(lines)


def _spending(data: Data) -> str:
    asked, used, time = data["requests"], data["tokens"], data["hours"]
    rows = [("requests for rationales", *_cells(asked["writing"], _number), asked["basis"])]
    if asked["judge"] != "rules":
        rows.append(
            ("requests for verdicts", *_cells(asked["judging"], _number), f"judge.by {asked['judge']}")
        )
    for title, name in (("a request", "per_request"), ("a verdict", "per_verdict")):
        if used[name] is not None:
            rows.append(
                (f"tokens into {title}", *_cells(used[name]["tokens_in"], _number), used[name]["basis"])
            )
            rows.append((f"tokens out of {title}", *_cells(used[name]["tokens_out"], _number), ""))
    rows += _sums(data, used)
    if time is not None:
        rows.append(("hours", *_cells(time, _hours), time["rate"]["basis"]))
    else:
        rows.append(("hours", "unknown", "", "", "probe the engine with --probe 20"))
    lines = [render(["what is spent", "low", "likely", "high", "basis"], rows)]
    if data["probe"] is not None:
        lines.append(_probed(data["probe"]))
    return "\n".join(lines)


def _sums(data: Data, used: Data) -> list[tuple[str, str, str, str, str]]:
    if used["in"] is None:
        return [("tokens", "unknown", "", "", "probe the engine with --probe 20")]
    if not used["in"]["high"] and not used["out"]["high"]:
        nothing = "nothing is left to ask" if not data["requests"]["writing"]["high"] else ""
        return [("tokens", "0", "0", "0", nothing or f"engine {data['engine']} reads none")]
    return [
        ("tokens in", *_cells(used["in"], _number), "of all requests"),
        ("tokens out", *_cells(used["out"], _number), "of all requests"),
    ]


def _probed(probe: Data) -> str:
    complete = (
        "" if probe["complete"] is None else f"; {probe['complete']:.0%} of them got all four rationales"
    )
    return (
        f"probe: {probe['pictures']} pictures, {probe['requests']} requests, {probe['failed']} failed"
        f"{_faults(probe)}{complete}; nothing of it is in the store"
        + (f"\n{probe['warning']}" if probe["warning"] else "")
    )


def _faults(probe: Data) -> str:
    """The first reason why a picture failed, which holds for the whole run as well."""
    more = len(probe["faults"]) - 1
    return (
        f" ({probe['faults'][0]}{f', and {more} other reasons' if more else ''})" if probe["faults"] else ""
    )


def _disk(disk: Data) -> str:
    rows = []
    for item in disk["items"]:
        cells = ("unknown", "", "") if item["bytes"] is None else _cells(item["bytes"], _size)
        rows.append((item["what"], "" if item["rows"] is None else str(item["rows"]), *cells, item["basis"]))
    rows.append(("all that is known", "", *_cells(disk["needed"], _size), f"{size(disk['free'])} free"))
    return render(["disk", "rows", "low", "likely", "high", "basis"], rows)


def _memory(needs: Sequence[Data]) -> str:
    rows = []
    for need in needs:
        low, _, high = ("unknown", "", "") if need["bytes"] is None else _cells(need["bytes"], _size)
        have = "unknown" if need["have"] is None else size(need["have"])
        rows.append((need["what"], need["where"], low, high, have, need["basis"]))
    if not rows:
        return "memory: no model is loaded"
    return render(["memory", "where", "low", "high", "can be had", "basis"], rows)


def _fit(data: Data) -> str:
    lines = ["missing, so nothing can be asked", f"  {data['missing']}"] if data["missing"] else []
    for title, name in (("will not fit", "will_not_fit"), ("may not fit", "may_not_fit")):
        if data[name]:
            lines += [title, *(f"  {short['what']}: {short['mend']}" for short in data[name])]
    return "\n".join(lines) or "everything that is known fits"


def _cells(spread: Data, show: Callable[[float], str]) -> tuple[str, str, str]:
    likely = "" if spread["likely"] is None else show(spread["likely"])
    return show(spread["low"]), likely, show(spread["high"])


def _number(value: float) -> str:
    for bound, unit in ((1e9, "billion"), (1e6, "million")):
        if value >= bound:
            return f"{value / bound:.2f} {unit}"
    return f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _size(value: float) -> str:
    return size(int(value))

"""Histograms and bars as inline SVG. Colours come from the page's style sheet, by class.

Every bar has a `<title>`, which a browser shows under the pointer, and every plot an `aria-label` with its
figures in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from statistics import median

_WIDTH, _HEIGHT = 320, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 4, 16, 20  # room for the figures around the bars
_BINS = 24  # at most


def histogram(
    title: str, values: Sequence[int], unit: str, span: tuple[int, int] | None = None, css: str = ""
) -> str:
    """How often each value occurs, in bins of equal and round width, with a mark at the median.

    values  not empty
    span    lowest and highest value of the axis, where several plots are to be compared; None = of `values`
    """
    low, high = span or (min(values), max(values))
    width = _bin_width(high - low + 1)
    first = floor(low / width) * width
    counts = [0] * ((high - first) // width + 1)
    for value in values:
        counts[(value - first) // width] += 1
    step = (_WIDTH - _LEFT - _RIGHT) / len(counts)
    middle = median(values)
    parts = [
        _bar(i, count, max(counts), step, f"{_bin(first + i * width, width)} {unit}: {count:,}", css)
        for i, count in enumerate(counts)
        if count
    ]
    at = _LEFT + ((middle - first) + (0.5 if width == 1 else 0)) / width * step
    parts.append(f'<path class="median" d="M{at:.1f} {_TOP - 4}V{_HEIGHT - _BOTTOM}"/>')
    parts += _axis([first + i * width for i in range(len(counts))], step, width)
    label = f"{title}: {len(values):,} values from {min(values)} to {max(values)} {unit}, median {middle:g}"
    return _panel(title, f"median {middle:g}", label, parts)


def _bin_width(values: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... with which so many values need no more than `_BINS` bins."""
    if values <= _BINS:
        return 1
    power = 10 ** floor(log10(values / _BINS))
    return int(next(m * power for m in (1, 2, 5, 10, 20) if ceil(values / (m * power)) <= _BINS))


def _bin(start: int, width: int) -> str:
    return str(start) if width == 1 else f"{start} to {start + width - 1}"


def _bar(number: int, count: int, highest: int, step: float, title: str, css: str) -> str:
    room = _HEIGHT - _TOP - _BOTTOM
    height = max(1.5, room * count / highest)
    gap = min(2.0, step * 0.15)
    wide = min(step - gap, 44)
    x = _LEFT + number * step + (step - wide) / 2
    return (
        f'<rect class="bar {css}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}" width="{wide:.1f}" '
        f'height="{height:.1f}" rx="1"><title>{escape(title)}</title></rect>'
    )


def _axis(starts: Sequence[int], step: float, width: int) -> list[str]:
    """A base line and as many figures as fit: under a bar of one value, else at the bin's left edge."""
    base = _HEIGHT - _BOTTOM
    every = max(1, ceil(34 / step))
    parts = [f'<path class="axis" d="M0 {base + 0.5}H{_WIDTH}"/>']
    for i, start in enumerate(starts):
        if i % every == 0:
            x = _LEFT + i * step + (step / 2 if width == 1 else 0)
            anchor = "middle" if width == 1 or i else "start"
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 5}" text-anchor="{anchor}">{start}</text>')
    return parts


def _panel(title: str, aside: str, label: str, parts: Sequence[str]) -> str:
    return (
        f'<figure class="plot"><figcaption>{escape(title)} <span>{escape(aside)}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def share(parts: Mapping[str, int]) -> str:
    """One bar cut into shares; the keys are the classes that colour them, and what they are called."""
    total = sum(parts.values()) or 1
    x, rects = 0.0, []
    for name, count in parts.items():
        wide = 100 * count / total
        if count:
            title = escape(f"{name}: {count:,}")
            rects.append(
                f'<rect class="bar {escape(name)}" x="{x:.2f}" y="0" width="{wide:.2f}" height="10">'
                f"<title>{title}</title></rect>"
            )
        x += wide
    label = escape(", ".join(f"{name} {count:,}" for name, count in parts.items()))
    return (
        f'<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(rects)}</svg>'
    )


def ranking(counts: Mapping[str, int], css: str = "", most: int = 8) -> str:
    """Names with their counts as bars, the most frequent first; the rest as one sentence."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    highest = ranked[0][1] if ranked else 1
    items = [
        f'<li><span class="name">{escape(name)}</span><span class="count">{count:,}</span>'
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="bar {css}" width="{100 * count / highest:.1f}" height="4"/></svg></li>'
        for name, count in ranked[:most]
    ]
    rest = ranked[most:]
    more = f"<p class=quiet>and {len(rest):,} more, {sum(c for _, c in rest):,} in all</p>" if rest else ""
    return f'<ol class="ranking">{"".join(items)}</ol>{more}'

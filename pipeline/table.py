"""Plain tables for the terminal, and CSV for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from stages.printable import printable

WIDE = 72  # characters of a text in a table


def shorten(value: object) -> object:
    """A text that is no longer than a table can hold; anything else as it is."""
    return value[: WIDE - 1] + "…" if isinstance(value, str) and len(value) > WIDE else value


def render(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Left-aligned text, right-aligned numbers, one line per row, nothing beyond the last column."""
    cells = [[printable(_cell(value)) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *cells]) for i in range(len(head))]
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]

    def line(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, cells)])


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV as RFC 4180 has it, but for the line ends, without the last of them; None is an empty field.

    Control characters are spelled out as escapes: what is printed may meet a terminal.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([printable("" if value is None else str(value)) for value in row] for row in rows)
    return file.getvalue().removesuffix("\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def size(count: int) -> str:
    """A number of bytes for a person."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"

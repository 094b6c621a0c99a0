"""The code blocks of the pages under docs/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """language of a fenced block, its text, and the line of the page where it begins."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in _FENCE.finditer(text)]


def sections(page: str) -> dict[str, list[Block]]:
    """Heading -> the blocks of its section, for headings of the second level."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found: dict[str, list[Block]] = {}
    heading = ""
    for number, part in enumerate(re.split(r"^## (.+)\n", text, flags=re.MULTILINE)):
        if number % 2:
            heading = part
        elif heading:
            begin = text.index(part)
            found[heading] = [
                Block(b.language, b.text, b.line + text[:begin].count("\n")) for b in blocks(part)
            ]
    return found


def run(page: str, found: list[Block], names: dict[str, object]) -> None:
    """Executes the Python blocks one after another, so that a traceback names page and line."""
    for block in found:
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(DOCS / page), "exec")
            exec(code, names)

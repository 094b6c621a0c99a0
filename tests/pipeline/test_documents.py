"""Every command that README and docs show can be typed: its options, settings and configs exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from pipeline.cli import app
from pipeline.config import load_config

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(mipd-pipe [^`]+)`")


def commands(text: str) -> Iterator[str]:
    """Command lines; not those that are shown for the message they are answered with."""
    for block in _FENCE.findall(text):
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()
        for line, answer in zip(lines, [*lines[1:], ""], strict=True):
            if (found := re.search(r"mipd-pipe [a-z-].*", line)) and not answer.startswith("error: "):
                yield found[0]
    for line in _INLINE.findall(re.sub(_FENCE, "", text)):
        if "..." not in line and " / " not in line:  # `inspect verify / repair` names several
            yield line


def shown(path: Path) -> list[tuple[str, str]]:
    found = dict.fromkeys(commands(path.read_text(encoding="utf-8")))
    return [(path.name, line) for line in found]


COMMANDS = (ROOT / "pipeline" / "cli.py").read_text(encoding="utf-8")
EXAMPLES = [("--help", line) for line in re.findall(r"^ +Example: (mipd-pipe .*)$", COMMANDS, re.MULTILINE)]
SHOWN = [*(pair for path in DOCUMENTS for pair in shown(path)), *EXAMPLES]


def words(line: str) -> list[str]:
    found = shlex.split(line, comments=True)[1:]
    return found[: next((i for i, word in enumerate(found) if word in ("|", "&", ">", ">>", "&&")), None)]


@pytest.mark.parametrize(("document", "line"), SHOWN, ids=[f"{name}: {line}" for name, line in SHOWN])
def test_a_command_that_is_shown_can_be_typed(document: str, line: str) -> None:
    group = typer.main.get_command(app)
    typed = words(line)
    while isinstance(group, TyperGroup) and typed and not typed[0].startswith("-"):
        assert typed[0] in group.commands, f"{document}: {line!r} names no command"
        group, typed = group.commands[typed[0]], typed[1:]
    if isinstance(group, TyperGroup) and not typed:
        return  # a family of commands, spoken of as a whole
    eager = not {"--help", "--install-completion"}.isdisjoint(typed)  # these act while they are parsed
    with group.make_context("mipd-pipe", typed, resilient_parsing=eager) as context:
        settings = context.params
    if "set_" in settings:
        root = [] if "data.root" in line else ["data.root=DIR"]
        load_config(settings["config"] or Path("demo"), [*root, *(settings["set_"] or [])])


def test_the_readme_shows_the_commands_that_lead_to_a_first_result() -> None:
    lines = " ".join(line for name, line in SHOWN if name == "README.md")
    for command in (
        "run",
        "generate-rationales",
        "embed-teacher",
        "train-student",
        "evaluate",
        "inspect search",
    ):
        assert f"mipd-pipe {command}" in lines


@pytest.mark.parametrize("command", ["embed-teacher", "inspect search", "inspect duplicates"])
def test_the_help_of_a_command_shows_an_example_of_it(command: str) -> None:
    assert any(line.startswith(f"mipd-pipe {command} ") for _, line in EXAMPLES)

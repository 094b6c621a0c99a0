"""Every command that README and docs show can be typed: its options, settings and configs exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from typer.core import TyperGroup

from pipeline.cli import app
from pipeline.config import Config, load_config

ROOT = Path(__file__).parents[2]
SECTIONS = ("data", "teacher", "embed", "student", "losses", "train", "evaluate")  # of a configuration
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(mipd-pipe [^`]+)`")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_CONFIG = re.compile(r"configs/[\w-]+\.yaml")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SETTING = re.compile(rf"(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+")
_FILE = re.compile(r"(?:cache|stages|pipeline|configs|docs|tests)/[\w./-]*\.\w+")


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


SHOWN = [pair for path in DOCUMENTS for pair in shown(path)]


def words(line: str) -> list[str]:
    found = shlex.split(line, comments=True)[1:]
    return found[: next((i for i, word in enumerate(found) if word in ("|", "&", ">", ">>", "&&")), None)]


def parse(line: str, where: str) -> None:
    """Raises unless the command exists with these options, and the configuration with these settings."""
    group = typer.main.get_command(app)
    typed = words(line)
    while isinstance(group, TyperGroup) and typed and not typed[0].startswith("-"):
        assert typed[0] in group.commands, f"{where}: {line!r} names no command"
        group, typed = group.commands[typed[0]], typed[1:]
    if isinstance(group, TyperGroup) and not typed:
        return  # a family of commands, spoken of as a whole
    eager = not {"--help", "--install-completion"}.isdisjoint(typed)  # these act while they are parsed
    with group.make_context("mipd-pipe", typed, resilient_parsing=eager) as context:
        settings = context.params
    if "set_" in settings:
        root = [] if "data.root" in line else ["data.root=DIR"]
        load_config(settings["config"] or Path("demo"), [*root, *(settings["set_"] or [])])


@pytest.mark.parametrize(("document", "line"), SHOWN, ids=[f"{name}: {line}" for name, line in SHOWN])
def test_a_command_that_is_shown_can_be_typed(document: str, line: str) -> None:
    parse(line, document)


def leaves(group: TyperGroup, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


COMMANDS = dict(leaves(cast(TyperGroup, typer.main.get_command(app))))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example_that_can_be_typed(name: str) -> None:
    told = COMMANDS[name].get_help(typer.Context(COMMANDS[name], info_name=name))
    lines = [line.strip() for line in told.splitlines()]
    examples = lines[lines.index("Example:") + 1 :]
    assert examples
    for example in examples:  # to the last line, and none of them wrapped
        assert example.startswith(f"mipd-pipe {name} ")
        parse(example, f"help of {name}")


def pages() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in DOCUMENTS]


@pytest.mark.parametrize("path", pages())
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in _LINK.findall(re.sub(_FENCE, "", text)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = _HEADING.findall(re.sub(_FENCE, "", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", pages())
def test_every_config_and_file_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in [*_CONFIG.findall(text), *(m for code in _CODE.findall(text) for m in _FILE.findall(code))]:
        assert (ROOT / name).exists(), f"{path.name}: {name}"


@pytest.mark.parametrize("path", pages())
def test_every_setting_named_exists(path: Path) -> None:
    text = re.sub(_FENCE, "", path.read_text(encoding="utf-8"))
    for code in _CODE.findall(text):
        if found := _SETTING.match(code):
            model: Any = Config
            for key in found[0].split("."):
                assert key in model.model_fields, f"{path.name}: {code}"
                model = model.model_fields[key].annotation


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

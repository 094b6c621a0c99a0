"""`mipd-pipe init`: a commented configuration for a data folder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from cache.atomic import write_bytes
from cache.errors import UserError
from pipeline.config import embedded_configs, load_config
from pipeline.machine import look_for_gpus
from stages.data.layout import Layout, find_layout
from stages.data.settings import DataSettings

Hardware = Literal["cpu", "gpu"]
_BASES: dict[Hardware, str] = {"cpu": "swig-cpu", "gpu": "ov-swig"}
_FILES = ("train.json", "dev.json", "test.json")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the configuration depends on.

    data      folder in SWiG's layout
    run_dir   folder for everything that is written
    hardware  cpu: template teacher and built-in encoders, no weights; gpu: a model under vLLM and CLIP
    teacher   with gpu: hub id or folder of the multimodal model; "" keeps the example's
    """

    data: Path
    run_dir: Path
    hardware: Hardware
    teacher: str = ""


def choose_hardware(wanted: str) -> Hardware:
    """`auto`: gpu where nvidia-smi or torch finds one. Raises UserError for anything else than the three."""
    if wanted == "auto":
        return "gpu" if look_for_gpus() else "cpu"
    for hardware in _BASES:
        if wanted == hardware:
            return hardware
    raise UserError(f"--hardware {wanted!r} is not one of auto, cpu, gpu")


def write_first_config(answers: Answers, out: Path, overwrite: bool) -> str:
    """Writes the file and returns what to say.

    Raises UserError where the folder is no data set, the file exists, or a teacher is named without a GPU.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already; give --force to overwrite it, or --out ANOTHER")
    if answers.teacher and answers.hardware == "cpu":
        raise UserError(
            f"--teacher {answers.teacher} needs a GPU, and --hardware cpu writes with the template; leave "
            "one out, or set teacher.engine to `server` by hand for a model that runs elsewhere"
        )
    if not answers.data.is_dir():
        raise UserError(
            f"--data {answers.data} is no folder; give the one with the pictures in images_512/ or images/ "
            "and the annotations beside them, or make a small one with `mipd-pipe demo-data DIR`"
        )
    layout = find_layout(DataSettings(root=answers.data))
    _require_data(layout)
    text = fill(embedded_configs()[_BASES[answers.hardware]], answers, out)
    write_bytes(out, text.encode())
    load_config(out)  # what is written must be readable
    return "\n".join([*_describe(layout), f"wrote {out}; next:", *_next_commands(out)])


def fill(text: str, answers: Answers, out: Path) -> str:
    """The worked example with the answers in it; its comments stay."""
    chosen = {"run_dir: ": answers.run_dir, "  root: ": answers.data}
    if answers.teacher:
        chosen["    model: Qwen/"] = Path(answers.teacher)
    head = [
        f"# What:     {answers.data} with {_WITH[answers.hardware]}",
        f"# Command:  mipd-pipe run{_option(out)}",
    ]
    lines = [line for line in text.splitlines() if not line.startswith(("# What", "# Command"))]
    return "\n".join([*head, *(_filled(line, chosen) for line in lines)]) + "\n"


_WITH: dict[Hardware, str] = {
    "cpu": "the template teacher and the built-in encoders, no weights.",
    "gpu": "a multimodal LLM under vLLM as teacher and CLIP as the student's eye.",
}


def _filled(line: str, chosen: dict[str, Path]) -> str:
    """The line with its value replaced where it begins like one of `chosen`; the comment behind goes too."""
    for start, value in chosen.items():
        if line.startswith(start):
            return f"{line.partition(':')[0]}: {_scalar(value)}"
    return line


def _scalar(value: Path) -> str:
    """As YAML writes it on one line; quoted where a plain word would be read as something else."""
    text = str(value)
    if re.fullmatch(r"[\w./-]+", text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.strip()


def _require_data(layout: Layout) -> None:
    """A configuration for nothing would only put the mistake off."""
    if not any(_pictures(layout)):
        raise UserError(
            f"{layout.images} holds no picture ({', '.join(sorted(_PICTURES))}); nothing is written: put the "
            "pictures there, or give another folder with --data"
        )
    if not (_annotated(layout) or layout.is_released):
        raise UserError(
            f"{layout.annotations} holds neither {', '.join(_FILES)} nor Ov-SWiG's split files; nothing is "
            "written: put SWiG's annotations there, or give another folder with --data"
        )


def _pictures(layout: Layout) -> Iterator[Path]:
    return (path for path in layout.images.iterdir() if path.suffix.lower() in _PICTURES)


def _annotated(layout: Layout) -> list[str]:
    return [name for name in _FILES if (layout.annotations / name).exists()]


def _describe(layout: Layout) -> list[str]:
    unseen = (
        "Ov-SWiG's released split files"
        if layout.is_released
        else f"{layout.split_list.name}"
        if layout.split_list.exists()
        else "the 10 % of verbs with the fewest training pictures"
    )
    return [
        f"pictures     {layout.images} ({sum(1 for _ in _pictures(layout))})",
        f"annotations  {layout.annotations} ({', '.join(_annotated(layout)) or 'released split files'})",
        f"unseen verbs {unseen}",
    ]


def _next_commands(out: Path) -> list[str]:
    option = _option(out)
    return [
        f"  mipd-pipe check-data{option}      # reads everything once and names every problem",
        f"  mipd-pipe plan{option}            # what the run will take",
        f"  mipd-pipe run{option}",
    ]


def _option(out: Path) -> str:
    """mipd.yaml of the current folder is found without being named."""
    return "" if out == Path("mipd.yaml") else f" -c {out}"

"""`mipd-pipe` alone: what to type next, given what is here."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from cache.manifest import load_manifest
from cache.paths import StorePaths
from pipeline.config import Config, load_config
from stages.plural import counted

CHECKPOINT = Path("student", "checkpoint-best.safetensors")
_FIRST = """\
nothing of mipd-pipe is here yet. Type one of these:
  mipd-pipe run                   the whole pipeline on drawn scenes, a few minutes on two CPU cores
  mipd-pipe init --data DIR       a configuration for your own pictures in SWiG's layout
  mipd-pipe doctor                what is installed and what is missing
  mipd-pipe --help                all commands"""


def next_step(config_file: Path | None) -> str:
    """A few lines: how far the run of this configuration is, and the command that goes on.

    config_file   None: mipd.yaml of the current folder, else the embedded demo
    """
    source = config_file or (Path("mipd.yaml") if Path("mipd.yaml").exists() else None)
    config = load_config(source)
    if source is None and not config.run_dir.exists():
        return _FIRST
    option = f" -c {config_file}" if config_file else ""
    lines = [f"{source or 'the embedded demo'}: run {config.run_dir}, store {config.store}"]
    done, command, what = _stage(config)
    lines += [f"  {line}" for line in done]
    return "\n".join([*lines, f"next: mipd-pipe {command}{option}", f"      {what}"])


def _stage(config: Config) -> tuple[list[str], str, str]:
    """What is there, the command that comes next, and what it does."""
    if not config.data.root.exists() and not config.data.demo_images:
        missing = f"data.root {config.data.root} is not there"
        return [missing], "init --data DIR", "writes a configuration for the data set in DIR"
    done = _store_lines(config.store)
    if not any(line.startswith("rationales") for line in done):
        return done, "run", "all stages in order; `mipd-pipe plan` says before what they will take"
    if not any(line.startswith("banks") for line in done):
        return done, "embed-teacher", "embeds pictures, rationales and labels"
    if not (config.run_dir / CHECKPOINT).exists():
        return done, "train-student", "trains the student against the store"
    done.append(f"student     {config.run_dir / CHECKPOINT}")
    if not (config.run_dir / "metrics.json").exists():
        return done, "evaluate", "measures the student on the test set"
    done.append(f"metrics     {config.run_dir / 'metrics.json'}")
    return (
        done,
        "inspect report",
        "writes the page to look at; `mipd-pipe predict IMAGE` tries your own pictures",
    )


def _store_lines(store: Path) -> list[str]:
    try:
        manifest = load_manifest(StorePaths(store).require())
    except UserError:
        return []
    rows = sum(part.rows for part in manifest.of("rationales"))
    banks = sorted({part.name for part in manifest.parts if part.kind == "bank"})
    lines = [f"rationales  {rows} rows"] if rows else []
    lines += _failure_lines(StorePaths(store)) if manifest.of("quarantine") else []
    return lines + ([f"banks       {', '.join(banks)}"] if banks else [])


def _failure_lines(paths: StorePaths) -> list[str]:
    """What stage one gave up on and has not made good since."""
    from pipeline.looking.failures import read_failures

    try:
        failures = read_failures(paths)
    except UserError:
        return ["failures    cannot be read; find the damage with `mipd-pipe inspect verify`"]
    left = failures.filter(~failures["mended"])["image"].n_unique()
    told = f"{counted(left, 'picture')}; see why with `mipd-pipe inspect rows --status failed`"
    return [f"failures    {told}"] if left else []

"""What the commands of all groups have in common: options, the workspace, the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.workspace import Workspace


def example(*typed: str) -> str:
    """The last lines of a command's help; as they stand, for a wrapped command cannot be copied."""
    return "\n  mipd-pipe ".join(["\b\nExample:", *typed])


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="MIPD_CONFIG",
        help="YAML file, or the name of an embedded config; default mipd.yaml where there is one, else demo.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. train.epochs=3; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:1; default `train.device`.")
]
TextModelOption = Annotated[
    str, typer.Option(help="Folder or hub id of the text encoder, where it lies elsewhere now.")
]


# The options of this call: a command that an error names needs them too.
given: list[str] = []


def open_workspace(config: Path | None, assignments: list[str] | None, quiet: bool = False) -> Workspace:
    """`quiet`: where hardly anything of the configuration matters, none is a choice and needs no word."""
    from pipeline.config import load_config
    from pipeline.workspace import Workspace

    if config is None:
        own = Path("mipd.yaml").exists()
        config = Path("mipd.yaml") if own else None
        if not quiet:
            used = "mipd.yaml of this folder" if own else "the embedded demo configuration"
            typer.echo(f"using {used}" if own else f"no mipd.yaml here: using {used}", err=True)
    named = ["-c", str(config)] if config and config != Path("mipd.yaml") else []
    given[:] = [*named, *(word for one in assignments or [] for word in ("--set", one))]
    return Workspace(load_config(config, assignments or []))


def finish(result: Any, as_json: bool) -> None:
    """Prints a `pipeline.result.Result` and ends with its exit code."""
    typer.echo(result.json_text() if as_json else result.text)
    if result.exit_code:
        raise typer.Exit(result.exit_code)

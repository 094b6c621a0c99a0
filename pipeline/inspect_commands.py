"""`mipd-pipe inspect ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.command_line import ConfigOption, JsonOption, SetOption, example, finish, open_workspace

inspect_app = typer.Typer(help="Look into the store.", no_args_is_help=True, rich_markup_mode=None)


@inspect_app.command("summary", epilog=example("inspect summary --json"))
def inspect_summary(config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False) -> None:
    """What the store holds: rationales, verdicts, banks, sizes, failures."""
    from pipeline.looking import inspect

    finish(inspect.summary(open_workspace(config, set_)), json)


@inspect_app.command(
    "rows", epilog=example("inspect rows --verb jumping --polarity negative --status rejected")
)
def inspect_rows(
    config: ConfigOption = None,
    set_: SetOption = None,
    verb: Annotated[str | None, typer.Option(help="Only pictures of this verb.")] = None,
    image: Annotated[str | None, typer.Option(help="Only this picture.")] = None,
    aspect: Annotated[str | None, typer.Option(help="glimpse or gaze.")] = None,
    polarity: Annotated[str | None, typer.Option(help="positive or negative.")] = None,
    status: Annotated[str | None, typer.Option(help="accepted, rejected or failed.")] = None,
    split: Annotated[str | None, typer.Option(help="train, dev or test.")] = None,
    score: Annotated[
        str | None, typer.Option(help="Points, e.g. 4 or 1-3; none = only rules judged.")
    ] = None,
    versions: Annotated[
        bool, typer.Option("--versions", help="Show replaced versions, or mended failures, too.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most this many rows; 0 = all.")] = 20,
    csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    json: JsonOption = False,
) -> None:
    """Rationales, one row each, filtered; `--status failed` shows the quarantine."""
    from pipeline.looking import inspect

    if csv and json:
        raise UserError("--csv and --json ask for two forms of one answer; give one of them")
    wanted = {"verb": verb, "image": image, "aspect": aspect, "polarity": polarity, "status": status}
    wanted |= {"split": split, "score": score}
    filters = {name: value for name, value in wanted.items() if value is not None}
    finish(inspect.rows(open_workspace(config, set_), filters, versions, limit, csv), json)


@inspect_app.command("show", epilog=example("inspect show jumping_10.jpg"))
def inspect_show(
    image: Annotated[str, typer.Argument(help="File name of a picture of the data set.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Everything the store knows of one picture."""
    from pipeline.looking import inspect

    finish(inspect.show(open_workspace(config, set_), image), json)


@inspect_app.command(
    "search",
    epilog=example(
        'inspect search "a horse over a fence" --polarity positive -k 10',
        "inspect search --image mine.jpg --verb jumping",
    ),
)
def inspect_search(
    text: Annotated[str | None, typer.Argument(help="What to look for among the rationales.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    image: Annotated[
        str | None,
        typer.Option(help="Find pictures like this one: a file of your own, or the name of a stored one."),
    ] = None,
    verb: Annotated[str | None, typer.Option(help="Only pictures of this verb.")] = None,
    aspect: Annotated[str | None, typer.Option(help="glimpse or gaze.")] = None,
    polarity: Annotated[str | None, typer.Option(help="positive or negative.")] = None,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="Number of hits.")] = 5,
    json: JsonOption = False,
) -> None:
    """The rationales nearest in meaning to a text, or the pictures nearest to a picture."""
    from pipeline.looking.search import search

    wanted = {"verb": verb, "aspect": aspect, "polarity": polarity}
    filters = {name: value for name, value in wanted.items() if value is not None}
    finish(search(open_workspace(config, set_), text, image, filters, count), json)


@inspect_app.command("duplicates", epilog=example("inspect duplicates --threshold 0.95 --aspect glimpse"))
def inspect_duplicates(
    config: ConfigOption = None,
    set_: SetOption = None,
    threshold: Annotated[float, typer.Option(help="Least cosine of two texts that count as one.")] = 0.98,
    verb: Annotated[str | None, typer.Option(help="Only pictures of this verb.")] = None,
    aspect: Annotated[str | None, typer.Option(help="glimpse or gaze.")] = None,
    polarity: Annotated[str | None, typer.Option(help="positive or negative.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most this many groups; 0 = all.")] = 20,
    json: JsonOption = False,
) -> None:
    """Rationales of different pictures that say the same, or nearly."""
    from pipeline.looking.duplicates import duplicates

    wanted = {"verb": verb, "aspect": aspect, "polarity": polarity}
    filters = {name: value for name, value in wanted.items() if value is not None}
    finish(duplicates(open_workspace(config, set_), filters, threshold, limit), json)


@inspect_app.command("report", epilog=example("inspect report --out report.html --limit 500"))
def inspect_report(
    config: ConfigOption = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default report.html in the run folder.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most this many pictures; 0 = all.")] = 2000,
    thumbnail: Annotated[int, typer.Option(help="Pixels of the longer side of a picture.")] = 384,
    predictions: Annotated[int, typer.Option(help="At most this many predictions; 0 = all.")] = 1000,
    json: JsonOption = False,
) -> None:
    """Write one HTML page: figures, plots, the pictures with their rationales, and the predictions."""
    from pipeline.report.report import write_report

    finish(write_report(open_workspace(config, set_), out, limit, thumbnail, predictions), json)


@inspect_app.command("verify", epilog=example("inspect verify --fast"))
def inspect_verify(
    config: ConfigOption = None,
    set_: SetOption = None,
    fast: Annotated[bool, typer.Option("--fast", help="Skip the payload checksums.")] = False,
    json: JsonOption = False,
) -> None:
    """Prove checksums, counts and joins of the store. Exit 1 if there is a fault."""
    from pipeline.looking import health

    finish(health.verify_store(open_workspace(config, set_), fast), json)


@inspect_app.command("repair", epilog=example("inspect repair --dry-run"))
def inspect_repair(
    config: ConfigOption = None,
    set_: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: JsonOption = False,
) -> None:
    """Take out of the store what is proven bad, so that the same commands again make it anew."""
    from pipeline.looking import health

    finish(health.repair_store(open_workspace(config, set_), dry_run), json)


@inspect_app.command("compact", epilog=example("inspect compact --keep-versions"))
def inspect_compact(
    config: ConfigOption = None,
    set_: SetOption = None,
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep rationales, banks and labels of earlier settings.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Merge small files and drop what newer rows replaced; removes what `repair` set aside."""
    from pipeline.looking import health

    finish(health.compact_store(open_workspace(config, set_), keep_versions), json)


@inspect_app.command("export", epilog=example("inspect export rationales --to parquet"))
def inspect_export(
    out: Annotated[Path, typer.Argument(help="New folder to write.")],
    to: Annotated[str, typer.Option(help="parquet, hf or webdataset.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    banks: Annotated[
        list[str] | None, typer.Option("--banks", help="With webdataset: a bank to include; repeatable.")
    ] = None,
    pictures_per_file: Annotated[
        int | None,
        typer.Option(min=1, help="Default: one file a split; of webdataset 1000 pictures a file."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the newest rationales with their verdicts for other programs."""
    from pipeline.looking import health

    finish(health.export_store(open_workspace(config, set_), out, to, banks or [], pictures_per_file), json)


@inspect_app.command("import", epilog=example("inspect import rationales --from parquet"))
def inspect_import(
    path: Annotated[Path, typer.Argument(help="Folder that `inspect export` wrote, or one file of it.")],
    from_: Annotated[str, typer.Option("--from", help="parquet, hf or webdataset.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Take rows of another data set too.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring exported rationales into the store as they were."""
    from pipeline.looking import health

    finish(health.import_store(open_workspace(config, set_), path, from_, force), json)

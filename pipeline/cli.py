"""The command line. Each command's work is imported when it runs, so that `--help` loads no torch."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cache.errors import FindingsError, MachineError, UserError
from pipeline.bench_commands import bench_app
from pipeline.command_line import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    SetOption,
    TextModelOption,
    example,
    finish,
    given,
    open_workspace,
)
from pipeline.inspect_commands import inspect_app
from pipeline.stops import STOPPED, stops_unwind

_DEBUG = "MIPD_DEBUG"

app = typer.Typer(
    name="mipd-pipe",
    help="Distil a multimodal teacher into a grounded-situation student, through a cached store.",
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(inspect_app, name="inspect")
app.add_typer(bench_app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mipd-pipe {version('mipd-pipe')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"
    if context.invoked_subcommand is None:
        from pipeline.next_step import next_step

        typer.echo(next_step(Path(os.environ["MIPD_CONFIG"]) if "MIPD_CONFIG" in os.environ else None))


@app.command(epilog=example("init --data DIR --teacher Qwen/Qwen2.5-VL-7B-Instruct"))
def init(
    data: Annotated[
        Path, typer.Option(help="Folder of the data set in SWiG's layout.", prompt="Folder of the data set")
    ],
    run_dir: Annotated[Path, typer.Option(help="Folder for everything that is written.")] = Path(
        "runs/first"
    ),
    hardware: Annotated[str, typer.Option(help="cpu or gpu; auto = gpu where there is one.")] = "auto",
    teacher: Annotated[str, typer.Option(help="With a GPU: hub id or folder of the multimodal model.")] = "",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("mipd.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration for your own data, after a look at the folder."""
    from pipeline.first_config import Answers, choose_hardware, write_first_config

    answers = Answers(data, run_dir, choose_hardware(hardware), teacher)
    typer.echo(write_first_config(answers, out, force))


@app.command(epilog=example("run -c configs/ov-swig.yaml --set data.root=DIR"))
def run(config: ConfigOption = None, set_: SetOption = None) -> None:
    """All stages in order, skipping what is done; ends with the result table and the report."""
    from pipeline import stage_one, stage_two
    from pipeline.report.report import write_report

    workspace = open_workspace(config, set_)
    stage_two.refuse_other_data(workspace)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    typer.echo(stage_two.evaluate(workspace).text)
    report = write_report(workspace)
    typer.echo(stage_two.whereabouts(workspace))
    typer.echo(f"report      {report.text}")


@app.command("demo-data", epilog=example("demo-data data --images 400"))
def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not hold anything else.")],
    images: Annotated[int, typer.Option(help="Number of pictures.")] = 1500,
    seed: Annotated[int, typer.Option(help="Same seed and number, same bytes.")] = 0,
) -> None:
    """Write a small data set of drawn scenes in SWiG's layout."""
    from stages.data.scenes import draw_data_set

    draw_data_set(folder, images, seed)
    typer.echo(f"{images} pictures in {folder}; look at the counts with:")
    typer.echo(f"  mipd-pipe check-data --set data.root={folder}")


@app.command("check-data", epilog=example("check-data -c configs/swig-cpu.yaml --set data.root=DIR"))
def check_data(config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False) -> None:
    """Read annotations and pictures; print counts per split and every problem.

    Exit 1 where more pictures than `max_failure_rate` cannot be used.
    """
    from pipeline.check import check

    finish(check(open_workspace(config, set_)), json)


@app.command(
    "generate-rationales",
    epilog=example("generate-rationales -c configs/ov-swig.yaml --shard 3/8 --budget-hours 47"),
)
def generate_rationales(
    config: ConfigOption = None,
    set_: SetOption = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the pictures of worker I of N, counted from 0.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again for what is in quarantine.")
    ] = False,
    budget_hours: Annotated[
        float | None, typer.Option(min=0, help="Begin no picture after this many hours, and end cleanly.")
    ] = None,
) -> None:
    """Stage one, text: four judged rationales for every training picture.

    N workers with --shard 0/N to N-1/N fill one store side by side. What is finished is never asked again.
    """
    from pipeline import stage_one
    from stages.teacher.asking.shard import Shard

    part = None if shard is None else Shard.parse(shard)
    ask = stage_one.Ask(part, retry_failed, budget_hours)
    stage_one.generate_rationales(open_workspace(config, set_), ask)


@app.command(
    "embed-teacher", epilog=example("embed-teacher -c configs/ov-swig.yaml --set embed.storage=int8")
)
def embed_teacher(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Stage one, vectors: banks of picture and text tokens, label vectors, indexes."""
    from pipeline import stage_one

    stage_one.embed_teacher(open_workspace(config, set_))


@app.command(
    "train-student",
    epilog=example(
        "train-student --set run_dir=runs/seed-1 --set store_dir=runs/demo/store --set train.seed=1"
    ),
)
def train_student(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Stage two: train the student against the store."""
    from pipeline import stage_two

    stage_two.train_student(open_workspace(config, set_))


@app.command(epilog=example("evaluate --split dev --per-verb --confusion"))
def evaluate(
    config: ConfigOption = None,
    set_: SetOption = None,
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    per_verb: Annotated[
        bool, typer.Option("--per-verb", help="Also print the figures of each verb.")
    ] = False,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Also print what the verbs recognised worst are taken for.")
    ] = False,
    verbs: Annotated[
        Path | None, typer.Option(help="Choose among the verbs of this file, see `predict --verbs`.")
    ] = None,
    text_model: TextModelOption = "",
    json: JsonOption = False,
) -> None:
    """Measure the best checkpoint: SWiG's metrics on seen, rare, unseen and all verbs.

    Writes metrics.json, .md and .tex, per_verb.csv, confusion.csv and predictions.parquet into the run.
    """
    from pipeline import stage_two

    workspace = open_workspace(config, set_)
    finish(stage_two.evaluate(workspace, split, per_verb, confusion, verbs, text_model), json)


@app.command(epilog=example("predict holiday/ 'more/*.jpg' --verbs verbs.yaml --draw drawn --out said.jsonl"))
def predict(
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Files, folders, or patterns in quotes.")
    ],
    config: ConfigOption = None,
    set_: SetOption = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint's file or an export's folder; default the run's best.")
    ] = None,
    verbs: Annotated[
        Path | None, typer.Option(help="YAML or imsitu_space-like file of other verbs and their roles.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Verbs told of each picture.")] = 5,
    out: Annotated[Path | None, typer.Option(help="File for the JSON lines, in place of stdout.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with boxes and labels.")] = None,
    device: DeviceOption = None,
    vision_model: Annotated[
        str, typer.Option(help="Folder or hub id of the vision encoder, where it lies elsewhere now.")
    ] = "",
    text_model: TextModelOption = "",
) -> None:
    """Situations on pictures of your own: one JSON line each, and drawn boxes.

    Needs a checkpoint and the student's vision encoder: no store, no data set, no teacher. Exit 1 where
    more pictures than `max_failure_rate` cannot be read.
    """
    from pipeline.predict import PredictRequest
    from pipeline.predict import predict as run_predict

    request = PredictRequest(pictures, checkpoint, verbs, top, out, draw, device, vision_model, text_model)
    workspace = open_workspace(config, set_, quiet=checkpoint is not None)
    run_predict(workspace.config, request, workspace.console, lambda line: typer.echo(line, nl=False))


@app.command("export-student", epilog=example("export-student --with-vision --int8 --out student-onnx"))
def export_student(
    config: ConfigOption = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default student/export in the run folder.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint's file; default the best.")] = None,
    with_vision: Annotated[
        bool, typer.Option("--with-vision", help="Export the frozen vision encoder too.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise weights; the change is measured.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure the figures on the dev set.")
    ] = True,
    runs: Annotated[int, typer.Option(min=1, help="Calls that the latency is taken of.")] = 200,
    vision_model: Annotated[
        str, typer.Option(help="Folder or hub id of the vision encoder, where it lies elsewhere now.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Write the student as ONNX graphs with a model card; proven equal to PyTorch, and measured.

    Exit 1, and nothing written, where a number differs by more than 1e-4.
    """
    from pipeline.exporting import export_student as export

    request = export.ExportRequest(out, checkpoint, with_vision, int8, measure, runs, vision_model)
    finish(export.export_student(open_workspace(config, set_), request), json)


@app.command(epilog=example("compare runs/with runs/without --figures top1.verb,gt.grnd"))
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders that were evaluated; the first is the reference.")
    ],
    figures: Annotated[
        str, typer.Option(help="Figures to show, e.g. top5.verb,gt.value_all; by subset each.")
    ] = "top1.verb,top1.grnd",
    json: JsonOption = False,
) -> None:
    """Figures of several runs side by side; runs that differ in the seed alone are averaged."""
    from pipeline.figures import compare as comparison

    finish(comparison.compare(runs, [figure.strip() for figure in figures.split(",")]), json)


@app.command(epilog=example("doctor -c configs/ov-swig.yaml"))
def doctor(
    config: ConfigOption = None,
    set_: SetOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also import what this configuration does without.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What is installed, what is missing, what to type. Exit 1 where what is missing is needed."""
    from pipeline.checks import doctor as check_up

    finish(check_up.doctor(open_workspace(config, set_).config, everything), json)


@app.command(epilog=example("plan -c configs/ov-swig.yaml --set data.root=DIR --probe 20"))
def plan(
    config: ConfigOption = None,
    set_: SetOption = None,
    probe: Annotated[
        int, typer.Option(min=0, help="Ask the real engine about this many pictures, beside the store.")
    ] = 0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Reckon with asking again for what is in quarantine.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What is left: requests, tokens, hours, disk, memory. Exit 1 where it is missing or will not fit."""
    from pipeline import plan as forecast

    finish(forecast.plan(open_workspace(config, set_), probe, retry_failed), json)


def main() -> NoReturn:
    """Runs the command line and ends the process with the exit code of what happened."""
    try:
        with stops_unwind():
            app()  # ends by SystemExit: 0, 2 for a mistake on the command line, 130 after Ctrl-C
    except (UserError, FindingsError, MachineError) as error:
        _fail(error, error.exit_code)
    except OSError as error:
        _fail(error, MachineError.exit_code)
    except SystemExit as end:
        if end.code in STOPPED:
            typer.echo("stopped; everything finished is kept: run the same command to go on", err=True)
        raise
    raise AssertionError("the app ends by SystemExit")


def _fail(error: BaseException, code: int) -> NoReturn:
    if os.environ.get(_DEBUG):
        raise error
    from stages.printable import printable

    hint = ""
    if given and "`mipd-pipe " in str(error):
        hint = f" (with this call's options: {shlex.join(given)})"
    typer.echo(f"error: {printable(str(error) + hint)}", err=True)
    sys.exit(code)

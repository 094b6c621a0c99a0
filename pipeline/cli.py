"""The command line. Each command's work is imported when it runs, so that `--help` loads no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cache.errors import FindingsError, MachineError, UserError
from pipeline.stops import STOPPED, stops_unwind

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

_DEBUG = "MIPD_DEBUG"

app = typer.Typer(
    name="mipd-pipe",
    help="Distil a multimodal teacher into a grounded-situation student, through a cached store.",
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
inspect_app = typer.Typer(help="Look into the store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(inspect_app, name="inspect")
bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench_app, name="bench")


def _example(*typed: str) -> str:
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


def _workspace(config: Path | None, assignments: list[str] | None, quiet: bool = False) -> Workspace:
    """`quiet`: where hardly anything of the configuration matters, none is a choice and needs no word."""
    from pipeline.config import load_config
    from pipeline.workspace import Workspace

    if config is None:
        own = Path("mipd.yaml").exists()
        config = Path("mipd.yaml") if own else None
        if not quiet:
            used = "mipd.yaml of this folder" if own else "the embedded demo configuration"
            typer.echo(f"using {used}" if own else f"no mipd.yaml here: using {used}", err=True)
    return Workspace(load_config(config, assignments or []))


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


@app.command(epilog=_example("init --data DIR --teacher Qwen/Qwen2.5-VL-7B-Instruct"))
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


@app.command(epilog=_example("run -c configs/ov-swig.yaml --set data.root=DIR"))
def run(config: ConfigOption = None, set_: SetOption = None) -> None:
    """All stages in order, skipping what is done; ends with the result table and the report."""
    from pipeline import stage_one, stage_two
    from pipeline.report.report import write_report

    workspace = _workspace(config, set_)
    stage_two.refuse_other_data(workspace)
    stage_one.generate_rationales(workspace)
    stage_one.embed_teacher(workspace)
    stage_two.train_student(workspace)
    typer.echo(stage_two.evaluate(workspace).text)
    report = write_report(workspace)
    typer.echo(stage_two.whereabouts(workspace))
    typer.echo(f"report      {report.text}")


@app.command("demo-data", epilog=_example("demo-data data --images 400"))
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


@app.command("check-data", epilog=_example("check-data -c configs/swig-cpu.yaml --set data.root=DIR"))
def check_data(config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False) -> None:
    """Read annotations and pictures; print counts per split and every problem.

    Exit 1 where more pictures than `max_failure_rate` cannot be used.
    """
    from pipeline.check import check

    _finish(check(_workspace(config, set_)), json)


@app.command(
    "generate-rationales",
    epilog=_example("generate-rationales -c configs/ov-swig.yaml --shard 3/8 --budget-hours 47"),
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
    from stages.teacher.shard import Shard

    part = None if shard is None else Shard.parse(shard)
    ask = stage_one.Ask(part, retry_failed, budget_hours)
    stage_one.generate_rationales(_workspace(config, set_), ask)


@app.command(
    "embed-teacher", epilog=_example("embed-teacher -c configs/ov-swig.yaml --set embed.storage=int8")
)
def embed_teacher(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Stage one, vectors: banks of picture and text tokens, label vectors, indexes."""
    from pipeline import stage_one

    stage_one.embed_teacher(_workspace(config, set_))


@app.command(
    "train-student",
    epilog=_example(
        "train-student --set run_dir=runs/seed-1 --set store_dir=runs/demo/store --set train.seed=1"
    ),
)
def train_student(config: ConfigOption = None, set_: SetOption = None) -> None:
    """Stage two: train the student against the store."""
    from pipeline import stage_two

    stage_two.train_student(_workspace(config, set_))


@app.command(epilog=_example("evaluate --split dev --per-verb --confusion"))
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

    workspace = _workspace(config, set_)
    _finish(stage_two.evaluate(workspace, split, per_verb, confusion, verbs, text_model), json)


@app.command(
    epilog=_example("predict holiday/ 'more/*.jpg' --verbs verbs.yaml --draw drawn --out said.jsonl")
)
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
    workspace = _workspace(config, set_, quiet=checkpoint is not None)
    run_predict(workspace.config, request, workspace.console, lambda line: typer.echo(line, nl=False))


@app.command("export-student", epilog=_example("export-student --with-vision --int8 --out student-onnx"))
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
    from pipeline import export_student as export

    request = export.ExportRequest(out, checkpoint, with_vision, int8, measure, runs, vision_model)
    _finish(export.export_student(_workspace(config, set_), request), json)


@app.command(epilog=_example("compare runs/with runs/without --figures top1.verb,gt.grnd"))
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
    from pipeline import compare as comparison

    _finish(comparison.compare(runs, [figure.strip() for figure in figures.split(",")]), json)


@app.command(epilog=_example("doctor -c configs/ov-swig.yaml"))
def doctor(
    config: ConfigOption = None,
    set_: SetOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also import what this configuration does without.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What is installed, what is missing, what to type. Exit 1 where what is missing is needed."""
    from pipeline import doctor as check_up

    _finish(check_up.doctor(_workspace(config, set_).config, everything), json)


@app.command(epilog=_example("plan -c configs/ov-swig.yaml --set data.root=DIR --probe 20"))
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

    _finish(forecast.plan(_workspace(config, set_), probe, retry_failed), json)


@inspect_app.command("summary", epilog=_example("inspect summary --json"))
def inspect_summary(config: ConfigOption = None, set_: SetOption = None, json: JsonOption = False) -> None:
    """What the store holds: rationales, verdicts, banks, sizes, failures."""
    from pipeline import inspect

    _finish(inspect.summary(_workspace(config, set_)), json)


@inspect_app.command(
    "rows", epilog=_example("inspect rows --verb jumping --polarity negative --status rejected")
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
    from pipeline import inspect

    if csv and json:
        raise UserError("--csv and --json ask for two forms of one answer; give one of them")
    wanted = {"verb": verb, "image": image, "aspect": aspect, "polarity": polarity, "status": status}
    wanted |= {"split": split, "score": score}
    filters = {name: value for name, value in wanted.items() if value is not None}
    _finish(inspect.rows(_workspace(config, set_), filters, versions, limit, csv), json)


@inspect_app.command("show", epilog=_example("inspect show jumping_10.jpg"))
def inspect_show(
    image: Annotated[str, typer.Argument(help="File name of a picture of the data set.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Everything the store knows of one picture."""
    from pipeline import inspect

    _finish(inspect.show(_workspace(config, set_), image), json)


@inspect_app.command(
    "search",
    epilog=_example(
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
    from pipeline.search import search

    wanted = {"verb": verb, "aspect": aspect, "polarity": polarity}
    filters = {name: value for name, value in wanted.items() if value is not None}
    _finish(search(_workspace(config, set_), text, image, filters, count), json)


@inspect_app.command("duplicates", epilog=_example("inspect duplicates --threshold 0.95 --aspect glimpse"))
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
    from pipeline.duplicates import duplicates

    wanted = {"verb": verb, "aspect": aspect, "polarity": polarity}
    filters = {name: value for name, value in wanted.items() if value is not None}
    _finish(duplicates(_workspace(config, set_), filters, threshold, limit), json)


@inspect_app.command("report", epilog=_example("inspect report --out report.html --limit 500"))
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

    _finish(write_report(_workspace(config, set_), out, limit, thumbnail, predictions), json)


@inspect_app.command("verify", epilog=_example("inspect verify --fast"))
def inspect_verify(
    config: ConfigOption = None,
    set_: SetOption = None,
    fast: Annotated[bool, typer.Option("--fast", help="Skip the payload checksums.")] = False,
    json: JsonOption = False,
) -> None:
    """Prove checksums, counts and joins of the store. Exit 1 if there is a fault."""
    from pipeline import health

    _finish(health.verify_store(_workspace(config, set_), fast), json)


@inspect_app.command("repair", epilog=_example("inspect repair --dry-run"))
def inspect_repair(
    config: ConfigOption = None,
    set_: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: JsonOption = False,
) -> None:
    """Take out of the store what is proven bad, so that the same commands again make it anew."""
    from pipeline import health

    _finish(health.repair_store(_workspace(config, set_), dry_run), json)


@inspect_app.command("compact", epilog=_example("inspect compact --keep-versions"))
def inspect_compact(
    config: ConfigOption = None,
    set_: SetOption = None,
    keep_versions: Annotated[
        bool, typer.Option("--keep-versions", help="Keep rationales, banks and labels of earlier settings.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Merge small files and drop what newer rows replaced; removes what `repair` set aside."""
    from pipeline import health

    _finish(health.compact_store(_workspace(config, set_), keep_versions), json)


@inspect_app.command("export", epilog=_example("inspect export rationales --to parquet"))
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
    from pipeline import health

    _finish(health.export_store(_workspace(config, set_), out, to, banks or [], pictures_per_file), json)


@inspect_app.command("import", epilog=_example("inspect import rationales --from parquet"))
def inspect_import(
    path: Annotated[Path, typer.Argument(help="Folder that `inspect export` wrote, or one file of it.")],
    from_: Annotated[str, typer.Option("--from", help="parquet, hf or webdataset.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Take rows of another data set too.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring exported rationales into the store as they were."""
    from pipeline import health

    _finish(health.import_store(_workspace(config, set_), path, from_, force), json)


@bench_app.command("teacher", epilog=_example("bench teacher --pictures 128"))
def bench_teacher(
    pictures: Annotated[int, typer.Option(help="Requests through vLLM and a tiny random model.")] = 512,
    few: Annotated[int, typer.Option(help="Pictures of the smaller run whose memory is measured.")] = 1000,
    many: Annotated[int, typer.Option(help="Pictures of the larger one, and of the resume.")] = 20000,
    json: JsonOption = False,
) -> None:
    """Stage one beside its engine alone, its memory at two sizes, and how soon it resumes."""
    from pipeline.bench.teacher import bench_teacher as measure
    from pipeline.console import Console

    _finish(measure(pictures, few, many, Console()), json)


@bench_app.command("store", epilog=_example("bench store --folder /data/scratch"))
def bench_store(
    pictures: Annotated[
        int, typer.Option(help="Pictures of SWiG's shapes; each takes 9 MB of disk while it runs.")
    ] = 512,
    folder: Annotated[Path, typer.Option(help="Folder on the disk to be measured.")] = Path(),
    few: Annotated[int, typer.Option(help="Pictures of the smaller run whose memory is measured.")] = 100,
    many: Annotated[int, typer.Option(help="Pictures of the larger one.")] = 1000,
    json: JsonOption = False,
) -> None:
    """Banks beside one file per picture, warm and cold, and beside what memory and disk can do."""
    from pipeline.bench.store import bench_store as measure
    from pipeline.console import Console

    _finish(measure(pictures, few, many, folder, Console()), json)


@bench_app.command("student", epilog=_example("bench student --steps 1 --threads 1"))
def bench_student(
    steps: Annotated[int, typer.Option(help="Timed steps of each pass; five rounds of passes.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads to compute with; 0 = all cores.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:1.")] = "auto",
    folder: Annotated[Path, typer.Option(help="Folder for a store of 1.1 GB while it runs.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Training and evaluation at SWiG's real shapes, beside this machine's matrix multiply; memory."""
    from pipeline.bench.student import Wanted
    from pipeline.bench.student import bench_student as measure
    from pipeline.console import Console

    _finish(measure(Wanted(steps, threads, device), folder, Console()), json)


@bench_app.command("index", epilog=_example("bench index --vectors 300000 --width 1024"))
def bench_index(
    vectors: Annotated[int, typer.Option(help="Made-up vectors.")] = 300_000,
    width: Annotated[int, typer.Option(help="Numbers of a vector.")] = 512,
    folder: Annotated[Path, typer.Option(help="Folder to work in.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Each kind of index: building time, memory, size, recall, time of a query."""
    from pipeline.bench.index import bench_index as measure
    from pipeline.console import Console

    _finish(measure(vectors, width, folder, Console()), json)


def _finish(result: Any, as_json: bool) -> None:
    """Prints a `pipeline.result.Result` and ends with its exit code."""
    typer.echo(result.json_text() if as_json else result.text)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


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

    typer.echo(f"error: {printable(str(error))}", err=True)
    sys.exit(code)

"""`mipd-pipe bench ...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.command_line import JsonOption, example, finish

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True, rich_markup_mode=None)


@bench_app.command("teacher", epilog=example("bench teacher --pictures 128"))
def bench_teacher(
    pictures: Annotated[int, typer.Option(help="Requests through vLLM and a tiny random model.")] = 512,
    few: Annotated[int, typer.Option(help="Pictures of the smaller run whose memory is measured.")] = 1000,
    many: Annotated[int, typer.Option(help="Pictures of the larger one, and of the resume.")] = 20000,
    json: JsonOption = False,
) -> None:
    """Stage one beside its engine alone, its memory at two sizes, and how soon it resumes."""
    from pipeline.bench.teacher import bench_teacher as measure
    from pipeline.console import Console

    finish(measure(pictures, few, many, Console()), json)


@bench_app.command("store", epilog=example("bench store --folder /data/scratch"))
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

    finish(measure(pictures, few, many, folder, Console()), json)


@bench_app.command("student", epilog=example("bench student --steps 1 --threads 1"))
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

    finish(measure(Wanted(steps, threads, device), folder, Console()), json)


@bench_app.command("index", epilog=example("bench index --vectors 300000 --width 1024"))
def bench_index(
    vectors: Annotated[int, typer.Option(help="Made-up vectors.")] = 300_000,
    width: Annotated[int, typer.Option(help="Numbers of a vector.")] = 512,
    folder: Annotated[Path, typer.Option(help="Folder to work in.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Each kind of index: building time, memory, size, recall, time of a query."""
    from pipeline.bench.index import bench_index as measure
    from pipeline.console import Console

    finish(measure(vectors, width, folder, Console()), json)

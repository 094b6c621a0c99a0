"""`mipd-pipe bench teacher`: what stage one costs beside its engine, its memory, and how soon it resumes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from cache.errors import UserError
from cache.kinds import KINDS
from pipeline.bench.child import Ended, run_command
from pipeline.bench.many_pictures import add_picture, make_data_set
from pipeline.config import Config, load_config
from pipeline.console import Console
from pipeline.result import Result
from pipeline.stage_one import build_generator
from pipeline.table import render
from pipeline.workspace import Workspace
from stages.teacher.asking.shard import Shard
from stages.teacher.engines.engine import Answer, Engine, Engines, Request
from stages.teacher.engines.vllm_engine import VllmEngine
from stages.teacher.engines.vllm_load import installed_vllm

REPEATS = 3  # medians of this many pairs
# A random model's answers are rejected, every one, so each picture is asked about once.
_TINY: Mapping[str, object] = {
    "teacher.engine": "vllm",
    "teacher.max_chars": 240,  # about 40 words, which is what the prompt asks for
    "teacher.judge.max_attempts": 1,
    "teacher.give_up_after": 0,
    "max_failure_rate": 1.0,
    "teacher.vllm.dtype": "float32",
    "teacher.vllm.max_model_len": 2048,
    "teacher.vllm.max_num_seqs": 64,
    "teacher.vllm.max_tokens": 1200,
    "teacher.vllm.enforce_eager": True,
    "teacher.vllm.gpu_memory_utilization": 0.15,
}


def bench_teacher(pictures: int, few: int, many: int, console: Console) -> Result:
    """Figures of stage one on this machine.

    pictures   requests of the comparison with the engine alone, a tiny random model under vLLM
    few, many  pictures of the runs whose memory is compared, with the template engine; the resume starts from
               the `many` finished ones
    """
    if pictures < 1 or not 1 <= few < many:
        raise UserError(f"--pictures {pictures}, --few {few}, --many {many}: all from 1, few below many")
    with tempfile.TemporaryDirectory(prefix="mipd-bench-") as folder:
        data = _overhead(Path(folder) / "overhead", pictures, console)
        data |= _scale(Path(folder) / "scale", few, many, console)
    return Result(_text(data), data)


def _overhead(folder: Path, pictures: int, console: Console) -> dict[str, Any]:
    if installed_vllm() is None:
        console.say("vllm is not installed, so the stage is not compared with it")
        return {"requests": 0, "engine_seconds": None, "stage_seconds": None, "stage_vs_engine": None}
    from pipeline.bench.tiny_vlm import build_tiny_vlm

    make_data_set(folder / "data", pictures)
    model = build_tiny_vlm(folder / "model")
    base = _config(folder, {**_TINY, "teacher.vllm.model": model})
    alone, stage, requests = [], [], 0
    engine = VllmEngine(base.teacher.vllm)
    with closing(engine):
        engine.load()
        for number in range(-1, REPEATS):  # the first pair, -1, warms up and does not count
            config = base.model_copy(update={"run_dir": folder / f"run{number}"})
            console.say(f"overhead, pair {number + 1} of {REPEATS}")
            stage_seconds, asked = _run_stage(config, engine)
            engine_seconds = _ask_alone(engine, asked)
            requests = len(asked)
            if number >= 0:
                alone.append(engine_seconds)
                stage.append(stage_seconds)
    return {
        "requests": requests,
        "engine_seconds": alone,
        "stage_seconds": stage,
        "stage_vs_engine": median(s / a for s, a in zip(stage, alone, strict=True)),
    }


def _config(folder: Path, settings: Mapping[str, object]) -> Config:
    every = {"run_dir": folder / "run", "data.root": folder / "data", **settings}
    return load_config(Path("demo"), [f"{key}={value}" for key, value in every.items()])


def _run_stage(config: Config, engine: Engine) -> tuple[float, list[Request]]:
    """Seconds from annotations in memory to the last row on disk, and the requests; the engine is loaded.

    Checking the pictures, label vectors, contrasts, prompts, parsing, rules and writing are all part of it.
    """
    workspace, noted = Workspace(config), _Noted(engine)
    assert workspace.data
    start = time.monotonic()
    build_generator(workspace, Engines(noted), Shard()).run(config.max_failure_rate)
    return time.monotonic() - start, noted.asked


class _Noted:
    """An engine that notes what it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asked: list[Request] = []

    def identity(self) -> Mapping[str, Any]:
        return self._engine.identity()

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self._engine.answer(self._note(requests))

    def _note(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request)
            yield request

    def close(self) -> None:
        """Left open: it is asked alone afterwards."""


def _ask_alone(engine: Engine, requests: list[Request]) -> float:
    start = time.monotonic()
    answered = sum(1 for _ in engine.answer(requests))
    assert answered == len(requests)
    return time.monotonic() - start


def _scale(folder: Path, few: int, many: int, console: Console) -> dict[str, Any]:
    """Peak memory at two sizes, and how soon a command over the larger one asks about a new picture."""
    peaks = {}
    for size in (few, many):
        console.say(f"memory, {size} pictures")
        make_data_set(folder / str(size) / "data", size)
        peaks[size] = _generate(folder / str(size)).peak_mib
    console.say(f"resume over {many} finished pictures")
    add_picture(folder / str(many) / "data")
    again = _generate(folder / str(many))
    events = [json.loads(line) for line in (folder / str(many) / "run" / "events.jsonl").open()]
    asking = [datetime.fromisoformat(event["at"]) for event in events if event["event"] == "asking-started"]
    return {
        "few_pictures": few,
        "many_pictures": many,
        "few_peak_mib": peaks[few],
        "many_peak_mib": peaks[many],
        "memory_many_vs_few": peaks[many] / peaks[few],
        "resume_rows": many * len(KINDS),
        "resume_seconds": asking[-1].timestamp() - again.started,
    }


def _generate(folder: Path) -> Ended:
    settings = {"run_dir": folder / "run", "data.root": folder / "data", "data.demo_images": 0}
    return run_command(["generate-rationales", "--config", "demo"], settings, folder / "log.txt")


def _text(data: Mapping[str, Any]) -> str:
    rows = [
        ["memory_many_vs_few", data["memory_many_vs_few"], "about 1: flat",
         f"{data['few_peak_mib']:.0f} MiB with {data['few_pictures']} pictures, "
         f"{data['many_peak_mib']:.0f} MiB with {data['many_pictures']}"],
        ["resume_seconds", data["resume_seconds"], "at most 5",
         f"from the start of the command to its first request, over {data['resume_rows']} finished rows"],
    ]  # fmt: skip
    if data["stage_vs_engine"] is not None:
        alone, stage = median(data["engine_seconds"]), median(data["stage_seconds"])
        what = f"{data['requests']} requests in {stage:.2f} s; the engine alone takes {alone:.2f} s"
        rows.insert(0, ["stage_vs_engine", data["stage_vs_engine"], "at most 1.10", what])
    return render(["figure", "value", "wanted", "what it is"], rows)

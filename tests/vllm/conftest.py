"""Starts `driver.py` with a plan, in process or with vLLM's default engine in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from stages.teacher.engines.vllm_load import installed_vllm
from tests.tiny_models import build_tiny_vlm

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    # Left alone, vLLM pins one thread to each core; where something else runs beside it, the threads wait for
    # each other at every one of the model's tiny steps, and all takes ten times as long.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
PATIENCE = 600.0  # seconds until a driver that says nothing more is ended, so that its test fails
SETTINGS = {
    "dtype": "float32",
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "max_tokens": 600,
    "enforce_eager": True,
    "gpu_memory_utilization": 0.15,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if installed_vllm() is None:
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason="needs vllm; run `make test-vllm`"))


@dataclass
class Driver:
    """A running driver; its reports come line by line."""

    process: subprocess.Popen[str]

    def reports(self) -> Iterator[dict[str, Any]]:
        """Every report until it ends. A line that is no report fails: stdout belongs to the program."""
        assert self.process.stdout is not None
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        try:
            for line in self.process.stdout:
                yield json.loads(line)
        finally:
            patience.cancel()

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        seen = []
        for report in self.reports():
            seen.append(report)
            if report["event"] == event and fields.items() <= report.items():
                return report
        raise AssertionError(f"the driver ended without {event} {fields}: {seen}")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Any]:
    """A function that starts a driver; ends what is left of them after the last test."""
    folder = tmp_path_factory.mktemp("drivers")
    started: list[subprocess.Popen[str]] = []

    def start(
        steps: list[dict[str, Any]],
        in_process: bool = True,
        settings: dict[str, Any] | None = None,
        path: Sequence[Path] = (),
        ray: dict[str, Any] | None = None,
    ) -> Driver:
        """Modules are looked for in the folders of `path` first; `ray` are settings of a Ray engine."""
        chosen = {"model": str(model), **SETTINGS, **(settings or {})}
        plan = {"settings": chosen, "ray": ray, "steps": steps}
        plan_file = folder / f"plan-{len(started)}.json"
        plan_file.write_text(json.dumps(plan))
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "vllm" / "driver.py"), str(plan_file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **ENVIRONMENT,
                "PYTHONPATH": os.pathsep.join(str(folder) for folder in (*path, ROOT)),
                "VLLM_CACHE_ROOT": str(folder / "cache"),
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if in_process else "1",
            },
        )
        started.append(process)
        return Driver(process)

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three drawn pictures of different colours and sizes, one with transparency."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, (colour, size) in enumerate([("red", (80, 60)), ("green", (40, 120)), ("blue", (64, 64))]):
        picture = Image.new("RGBA" if colour == "blue" else "RGB", size, "white")
        ImageDraw.Draw(picture).ellipse((5, 5, size[0] - 5, size[1] - 5), fill=colour)
        paths.append(folder / f"{number}.png")
        picture.save(paths[-1])
    return paths

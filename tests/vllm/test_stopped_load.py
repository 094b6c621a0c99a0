"""What asks the program to end while vLLM loads its model ends it, and leaves no engine behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config, dump_config
from tests.vllm.conftest import ENVIRONMENT, PATIENCE, ROOT, SETTINGS
from tests.vllm.test_engine_process import WAIT, command, descendants, is_alive, wait_until

pytestmark = pytest.mark.vllm

Start = Callable[[], "subprocess.Popen[str]"]


def engines_of(pid: int) -> list[int]:
    """Processes below `pid` that multiprocessing spawned: vLLM's engine, once the program starts it."""
    return [child for child in descendants(pid) if b"--multiprocessing-fork" in command(child)]


@pytest.fixture
def program(tmp_path: Path, model: Path, small_config: Callable[..., Config]) -> Start:
    """Starts `generate-rationales` in a process group of its own, as a terminal does."""
    vllm = {"model": str(model), **SETTINGS}
    sets = [f"teacher.vllm.{name}={json.dumps(value)}" for name, value in vllm.items()]
    config = small_config(tmp_path / "run", "teacher.engine=vllm", "teacher.max_chars=24", *sets)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    cache = {"VLLM_CACHE_ROOT": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-c", "from pipeline.cli import main; main()"),
                *("generate-rationales", "-c", str(tmp_path / "config.yaml")),
            ],
            cwd=tmp_path,
            env={**os.environ, **ENVIRONMENT, **cache},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def test_one_ctrl_c_while_the_model_loads_ends_the_command(
    program: Start,
) -> None:
    with program() as running:
        try:
            assert wait_until(lambda: bool(engines_of(running.pid)), PATIENCE)
            below = engines_of(running.pid)
            os.killpg(running.pid, signal.SIGINT)
            _, said = running.communicate(timeout=WAIT)
        finally:
            running.kill()
    assert running.returncode == 130, said
    assert "stopped; everything finished is kept: run the same command to go on" in said
    assert wait_until(lambda: not any(is_alive(pid) for pid in below))


def test_a_program_killed_while_the_model_loads_leaves_no_engine(
    program: Start,
) -> None:
    """At the very start of the engine's process, long before it loads plugins of the general kind."""
    with program() as running:
        try:
            assert wait_until(lambda: bool(engines_of(running.pid)), PATIENCE)
            below = descendants(running.pid)
        finally:
            running.kill()
    gone = wait_until(lambda: not any(is_alive(pid) for pid in below))
    left = [pid for pid in below if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert gone, left

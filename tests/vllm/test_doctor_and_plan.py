"""What doctor and plan say of a real vLLM: what it can load, and what its answers take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.checks.import_probe import probe
from pipeline.checks.needs import Needs
from pipeline.checks.package_checks import check_vllm
from pipeline.machine import Machine
from stages.data.scenes import draw_data_set
from stages.teacher.engines.vllm_settings import VllmSettings
from tests.vllm.conftest import ENVIRONMENT, PATIENCE, ROOT, SETTINGS

pytestmark = pytest.mark.vllm

KNOWN = "Idefics3ForConditionalGeneration"
MAX_TOKENS = 600


def test_a_real_vllm_tells_what_it_can_load() -> None:
    facts = probe("vllm", KNOWN, "NobodyForConditionalGeneration")
    assert facts["fault"] == ""
    assert facts["architectures"][KNOWN] == ""
    assert "is not known to vllm" in facts["architectures"]["NobodyForConditionalGeneration"]
    bare = Machine("a CPU", 2, 1 << 34, 1 << 34, ())
    needs = Needs({"teacher.vllm": VllmSettings()}, {}, {}, False, ())
    assert check_vllm(facts, bare, needs).state == "ok"


def test_a_probe_measures_the_tokens_of_a_real_engine(model: Path, tmp_path: Path) -> None:
    draw_data_set(tmp_path / "data", images=60, seed=0)
    settings: dict[str, Any] = {
        "run_dir": tmp_path / "run",
        "data.root": tmp_path / "data",
        "teacher.engine": "vllm",
        "teacher.judge.max_attempts": 1,
        "teacher.vllm.model": model,
        **{f"teacher.vllm.{name}": value for name, value in SETTINGS.items()},
        "teacher.vllm.max_tokens": MAX_TOKENS,
    }
    options = [
        part
        for name, value in settings.items()
        for part in ("--set", f"{name}={json.dumps(value, default=str)}")
    ]
    program = "from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", "-c", "demo", "--probe", "3", "--json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={
            **os.environ,
            **ENVIRONMENT,
            "VLLM_CACHE_ROOT": str(tmp_path / "cache"),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        },
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    tokens = data["tokens"]["per_request"]
    assert tokens["basis"].startswith("probed on ")
    assert tokens["tokens_in"]["low"] > 100
    assert 0 < tokens["tokens_out"]["low"] <= 2 * MAX_TOKENS
    assert data["hours"]["low"] > 0
    assert data["memory"][0]["bytes"]["low"] > model.joinpath("model.safetensors").stat().st_size
    assert not (tmp_path / "run" / "store").exists()

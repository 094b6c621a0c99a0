"""Imports a package in a process of its own: a broken one may end a process without an exception.

Run as a module it writes what it found as one JSON object; `probe` runs it so and reads that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

_PATIENCE = 180.0  # seconds; vllm takes ten where nothing else runs
_LONGEST = 300  # characters of a fault

Probe = Callable[..., dict[str, Any]]


def probe(name: str, *arguments: str) -> dict[str, Any]:
    """Facts on a package: `fault`, empty where it can be imported, and then `version`.

    torch   also `cuda` (the version it is built for, or None), `gpus` it can use, and `gpu_fault`, why
            arithmetic on the first of them fails, or why it sees none
    faiss   also `gpus` it can use
    vllm    also `architectures`: of each model class in `arguments`, why it cannot be loaded, or ""
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.checks.import_probe", name, *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            cwd=Path(__file__).parents[2],  # so that this module is found however the package is installed
        )
    except subprocess.TimeoutExpired:
        return {"fault": f"its import did not end within {_PATIENCE:.0f} seconds"}
    if done.returncode < 0:
        hint = ": it is built for another processor" if done.returncode == -signal.SIGILL else ""
        return {"fault": f"its import ended the process ({signal.Signals(-done.returncode).name}){hint}"}
    try:
        facts: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"fault": f"its import ended the process with code {done.returncode}"}
    return facts


def _look(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    module = import_module(name)
    facts: dict[str, Any] = {"fault": "", "version": str(getattr(module, "__version__", ""))}
    if name == "torch":
        facts |= _look_at_torch(module)
    if name == "faiss":
        facts["gpus"] = module.get_num_gpus() if hasattr(module, "get_num_gpus") else 0
    if name == "vllm":
        _ = module.LLM  # the package loads most of itself when this name is read
        facts["architectures"] = _look_at_architectures(arguments)
    return facts


def _look_at_architectures(names: Sequence[str]) -> dict[str, str]:
    from stages.teacher.engines.vllm_load import architecture_fault

    return {name: architecture_fault(name) for name in names}


def _look_at_torch(torch: Any) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as said:  # a driver that is too old is told by a warning
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    fault = _first_line(said[-1].message) if said and not usable else ""
    if usable:
        try:
            (torch.ones(2, device="cuda") * 2).sum().item()
        except Exception as reason:  # no kernel for this GPU, a stuck driver, memory held by somebody else
            fault = _first_line(reason)
    return {"cuda": torch.version.cuda, "gpus": torch.cuda.device_count(), "gpu_fault": fault}


def _first_line(reason: BaseException | str) -> str:
    text = str(reason).strip() or type(reason).__name__
    return text.splitlines()[0][:_LONGEST]


def main() -> None:
    """Keeps stdout for the answer: packages print to it while they are imported."""
    out = os.dup(1)
    os.dup2(2, 1)
    name, *arguments = sys.argv[1:]
    if name == "vllm":
        from stages.teacher.engines.vllm_load import ENVIRONMENT

        for variable, value in ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
    try:
        facts = _look(name, arguments)
    except Exception as reason:  # whatever a broken package raises
        facts = {"fault": f"{type(reason).__name__}: {_first_line(reason)}"}
    os.write(out, json.dumps(facts).encode())


if __name__ == "__main__":
    main()

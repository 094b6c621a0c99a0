"""What this machine is, read from what the system says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pipeline import machine
from pipeline.machine import Gpu, disk_of, look_at_machine, look_for_gpus, visible_gpus

GIB = 1 << 30
TABLE = (
    "0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, 81000, 570.86.15\n"
    "1, GPU-bbbb-2, NVIDIA H100 80GB HBM3, 81559, 20000, 570.86.15\n"
    "2, GPU-cccc-3, NVIDIA GH200, [N/A], [N/A], 570.86.15\n"
)


def names_of_free(visible: str | None) -> list[int]:
    gpus = visible_gpus(TABLE, visible)
    assert gpus is not None
    return [(gpu.free or 0) >> 20 for gpu in gpus]


def test_this_machine_has_cores_and_memory() -> None:
    here = look_at_machine()
    assert here.cores == len(os.sched_getaffinity(0))
    assert 0 < here.memory_available <= here.memory
    assert here.cpu


def test_a_table_of_nvidia_smi_becomes_gpus_in_bytes() -> None:
    gpus = visible_gpus(TABLE, None)
    assert gpus is not None
    assert gpus[0] == Gpu("NVIDIA H100 80GB HBM3", 81559 << 20, 81000 << 20, "570.86.15")
    assert gpus[2].memory == 0


@pytest.mark.parametrize(
    ("visible", "free"),
    [
        (None, [81000, 20000, 0]),
        ("", []),
        ("1", [20000]),
        ("1, 0", [20000, 81000]),
        ("GPU-bbbb", [20000]),
        ("0,9,1", [81000]),
        ("-1", []),
    ],
)
def test_only_the_gpus_that_cuda_shows_count(visible: str | None, free: list[int]) -> None:
    assert names_of_free(visible) == free


def test_slices_of_gpus_are_not_taken_for_none() -> None:
    assert visible_gpus(TABLE, "MIG-1234") is None


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of nvidia-smi's name, alone on the path."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine.ask_nvidia_smi.cache_clear()
    return program


def test_nvidia_smi_is_asked_once(fake_program: Path) -> None:
    fake_program.write_text(f"#!/bin/sh\necho asked >> {fake_program}.log\nprintf '{TABLE}'\n")
    fake_program.chmod(0o755)
    assert [gpu.name for gpu in look_for_gpus()] == ["NVIDIA H100 80GB HBM3"] * 2 + ["NVIDIA GH200"]
    assert len(look_for_gpus()) == 3
    assert Path(f"{fake_program}.log").read_text() == "asked\n"
    machine.ask_nvidia_smi.cache_clear()


def test_a_failing_nvidia_smi_and_a_torch_without_gpus_mean_no_gpu(fake_program: Path) -> None:
    fake_program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    fake_program.chmod(0o755)
    assert look_for_gpus() == ()
    machine.ask_nvidia_smi.cache_clear()


def test_torch_is_not_loaded_for_it() -> None:
    import subprocess

    program = "import sys; from pipeline.machine import look_at_machine; look_at_machine()\n"
    program += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_disk_of_a_folder_not_made_yet_is_its_parents(tmp_path: Path) -> None:
    there, later = disk_of(tmp_path), disk_of(tmp_path / "a" / "b")
    assert there.total == later.total > later.free > 0

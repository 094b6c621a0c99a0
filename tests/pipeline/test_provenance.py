"""Every part of a store says what it was made with."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from cache.manifest import load_manifest
from pipeline import stage_one
from pipeline.config import Config
from pipeline.provenance import commit_of, provenance
from pipeline.workspace import Workspace


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit of one source."""
    folder = tmp_path / "checkout"
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "a.py").write_text("1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_versions_and_hardware_are_this_ones() -> None:
    found = provenance()
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["mipd-pipe"] == version("mipd-pipe")
    assert found["versions"]["torch"] == version("torch")
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["memory_gib"] > 0


def test_it_is_small_and_names_no_host() -> None:
    text = json.dumps(provenance())
    assert len(text) < 1000
    assert platform.node() not in text


def test_it_loads_no_heavy_package() -> None:
    program = (
        "import sys; from pipeline.provenance import provenance; provenance()\n"
        "sys.exit(bool({'torch', 'vllm', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_checkout_gives_its_commit(checkout: Path) -> None:
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_changed_and_new_sources_are_marked_and_a_runs_files_are_not(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "runs").mkdir()
    (checkout / "runs" / "events.jsonl").write_text("{}\n")
    assert commit_of(checkout) == head
    (checkout / "stages" / "b.py").write_text("2\n")
    assert commit_of(checkout) == f"{head}-dirty"
    (checkout / "stages" / "b.py").unlink()
    (checkout / "stages" / "a.py").write_text("3\n")
    assert commit_of(checkout) == f"{head}-dirty"


def test_an_installed_package_inside_somebodys_checkout_has_no_commit(checkout: Path) -> None:
    assert commit_of(checkout / "stages") is None


def test_a_hooks_repository_is_not_taken_for_the_packages(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert commit_of(checkout) == head


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout) is None


def test_every_part_of_a_store_carries_it(small_config: Callable[..., Config], tmp_path: Path) -> None:
    workspace = Workspace(small_config(tmp_path / "run"))
    stage_one.generate_rationales(workspace)
    parts = load_manifest(workspace.store).parts
    assert parts
    for part in parts:
        assert {name: part.producer[name] for name in provenance()} == provenance()

"""The arrows `pipeline -> stages -> cache` hold, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for top in ("cache", "stages", "pipeline") for path in (ROOT / top).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer is meant"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def refused(path: Path) -> tuple[str, ...]:
    """What a file of this place may not import."""
    place = path.relative_to(ROOT).as_posix()
    if place.startswith("cache/"):
        return ("stages", "pipeline", "torch", "vllm", "transformers")
    if place.startswith("stages/teacher/"):
        return ("pipeline", "stages.student")
    if place.startswith("stages/student/"):
        return ("pipeline", "stages.teacher", "vllm", "transformers")
    if place.startswith("stages/"):
        return ("pipeline", "stages.teacher", "stages.student", "torch", "vllm", "transformers")
    return ()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_from_below(path: Path) -> None:
    for name in imports_of(path):
        for layer in refused(path):
            assert name != layer, f"{path} imports {name}"
            assert not name.startswith(f"{layer}."), f"{path} imports {name}"


def importers_of(package: str) -> list[str]:
    found = [p for p in MODULES if any(n.split(".")[0] == package for n in imports_of(p))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def test_only_the_files_named_after_it_import_vllm() -> None:
    assert importers_of("vllm") == [
        "stages/teacher/engines/vllm_core.py",
        "stages/teacher/engines/vllm_engine.py",
        "stages/teacher/engines/vllm_load.py",
        "stages/teacher/engines/vllm_request.py",
        "stages/teacher/engines/vllm_states.py",
    ]


def test_only_one_file_imports_ray() -> None:
    assert importers_of("ray") == ["stages/teacher/engines/ray_engine.py"]


def test_help_loads_no_heavy_package() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']; from pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "names = {'torch', 'vllm', 'transformers', 'polars', 'pyarrow', 'pydantic', 'numpy'}\n"
        "heavy = names & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "generate-rationales" in done.stdout

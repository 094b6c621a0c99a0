from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny_models import build_tiny_vlm


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny vision-language model; tests read it only."""
    return build_tiny_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture
def model(built: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(built, tmp_path / "model"))

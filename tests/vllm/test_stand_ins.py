from __future__ import annotations

import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.vllm.make_stand_ins import STAND_INS, write_wheel

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_installed_for_pip_and_absent_for_python(name: str) -> None:
    assert version(name) == STAND_INS[name]
    assert find_spec(name) is None


def test_a_stand_in_holds_no_code_and_is_the_same_every_time(tmp_path: Path) -> None:
    first = write_wheel(tmp_path, "nothing", "1.0").read_bytes()
    assert write_wheel(tmp_path, "nothing", "1.0").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "nothing-1.0-py3-none-any.whl") as wheel:
        assert {Path(name).parent.name for name in wheel.namelist()} == {"nothing-1.0.dist-info"}

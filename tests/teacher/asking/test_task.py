"""The requests about a picture, and the key of all that decides its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cache.kinds import KINDS
from stages.data.ledger import PictureLedger
from stages.data.sample import Sample
from stages.data.swig import DataSet, data_fingerprint
from stages.teacher.asking.contrast import ContrastChooser
from stages.teacher.asking.request_keys import RequestKeys
from stages.teacher.asking.role_nouns import RoleUse
from stages.teacher.asking.task import TaskMaker
from stages.teacher.settings import TeacherSettings
from tests.teacher.examples import GLOSSES, VOCABULARY, jumping

VECTORS = np.eye(len(VOCABULARY.verbs), dtype=np.float32)


class Digests:
    """A ledger that has one digest for every picture."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def digest(self, image: str) -> str:
        return self._digest


def maker(
    folder: Path, digest: str = "ab" * 16, seed: int = 0, engine: str = "one", **settings: Any
) -> TaskMaker:
    """Each with an empty file of known keys, so that every key is worked out."""
    mark = data_fingerprint(VOCABULARY, (), {})
    data = DataSet(VOCABULARY, (), (), (), {}, "", (), folder, mark)
    nouns = {role: RoleUse(dict.fromkeys(GLOSSES, 1), {}) for role in VOCABULARY.roles}
    verbs = dict.fromkeys(VOCABULARY.verbs, 1)
    return TaskMaker(
        data,
        cast(PictureLedger, Digests(digest)),
        ContrastChooser(VOCABULARY, VECTORS, verbs, nouns, 3, seed),
        TeacherSettings(**settings),
        [{"engine": engine}],
        RequestKeys(folder / "none.parquet"),
    )


CHANGES: dict[str, dict[str, Any]] = {
    "the picture's bytes": {"digest": "cd" * 16},
    "the engine": {"engine": "two"},
    "the contrast": {"seed": 5},
    "the sampling": {"settings": {"seed": 1}},
    "the schema": {"settings": {"max_chars": 50}},
    "how it is asked": {"settings": {"requests": "separate"}},
    "the annotation": {"sample": jumping({"agent": "n00000002"})},
    "the size": {"sample": replace(jumping(), width=999)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_decides_a_row_is_in_the_request_key(tmp_path: Path, change: dict[str, Any]) -> None:
    sample: Sample = change.get("sample", jumping())
    given = {name: value for name, value in change.items() if name not in ("sample", "settings")}
    other = maker(tmp_path, **given, **change.get("settings", {}))
    assert maker(tmp_path).request_key(jumping()) == maker(tmp_path).request_key(jumping())
    assert maker(tmp_path).request_key(jumping()) != other.request_key(sample)


def test_how_often_may_be_asked_is_not_in_it(tmp_path: Path) -> None:
    more = maker(tmp_path, judge={"max_attempts": 9})
    assert more.request_key(jumping()) == maker(tmp_path).request_key(jumping())


def test_a_key_that_is_known_holds_until_something_changes(tmp_path: Path) -> None:
    """A remembered key stands for its inputs, or a resume would miss what changed since."""
    first = maker(tmp_path)
    key = first.request_key(jumping())
    first.known.save()
    for change in CHANGES.values():
        given = {name: value for name, value in change.items() if name not in ("sample", "settings")}
        again = maker(tmp_path, **given, **change.get("settings", {}))
        assert again.request_key(change.get("sample", jumping())) != key


def test_a_request_tells_the_reasons_of_its_own_kinds_alone(tmp_path: Path) -> None:
    reasons = {KINDS[0]: "too short", KINDS[3]: "names no noun"}
    asked = maker(tmp_path, requests="separate").requests(jumping(), 1, [KINDS[0], KINDS[3]], reasons)
    first, second = (asked[kind].prompt.question for kind in (KINDS[0], KINDS[3]))
    assert ("too short" in first, "names no noun" in first) == (True, False)
    assert ("too short" in second, "names no noun" in second) == (False, True)
    assert len({request.key for request in asked.values()}) == 2
    assert len({request.seed for request in asked.values()}) == 2

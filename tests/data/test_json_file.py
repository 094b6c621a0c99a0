from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import UserError
from stages.data.json_file import RepeatedKeys, read_json_object

HOLDS = "an object with one entry per picture"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"",
            "train.json: empty file (0 bytes); expected an object with one entry per picture; take it again",
        ),
        (b" \n", "train.json: empty file (2 bytes)"),
        (
            b'{"a.jpg": {\n  "verb": "jumping",,',
            "train.json, line 2, column 21: not JSON (Expecting property name enclosed in double quotes)",
        ),
        (b'{"a.jpg": {}', "train.json, line 1, column 13: not JSON (Expecting ',' delimiter)"),
        (b"[]", "train.json: holds a JSON list; expected an object with one entry per picture"),
        (b"null", "train.json: holds a JSON NoneType"),
        (b"{}", "train.json: holds an empty object; expected an object with one entry per picture"),
        (b'{"a.jpg": "\xff"}', "train.json, byte 11: not UTF-8 text (invalid start byte)"),
        (b'{"a.jpg": ' + b"9" * 5000 + b"}", "train.json: JSON that cannot be read (Exceeds the limit"),
        (b"[" * 200_000, "train.json: JSON that cannot be read (maximum recursion depth exceeded"),
    ],
)
def test_a_broken_file_is_named_with_position_and_expectation(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_json_object(path, HOLDS)
    assert message in str(caught.value)
    assert HOLDS in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json: cannot be read \(No such file or directory\)"):
        read_json_object(tmp_path / "none.json", HOLDS)
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_json_object(tmp_path, HOLDS)


def test_keys_that_stand_twice_are_kept_in_sight(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('{"a": 1, "b": {"c": 2}, "a": 3}')
    found = read_json_object(path, HOLDS)
    assert isinstance(found, RepeatedKeys)
    assert found == {"a": 3, "b": {"c": 2}}
    assert found.repeats == {"a": [1, 3]}
    assert not isinstance(found["b"], RepeatedKeys)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json_object(path, HOLDS) == {"a": 1}

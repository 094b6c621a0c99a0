from __future__ import annotations

import pytest

from cache.errors import UserError
from stages.teacher.asking.shard import Shard


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse("3/8") == Shard(3, 8)
    assert Shard.parse("0/1") == Shard()
    assert (Shard(3, 8).tag, Shard().tag) == ("3of8", "")


@pytest.mark.parametrize("text", ["3", "3/", "/8", "a/8", "-1/8", "1.0/8", "3 of 8"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not of the form i/n with whole numbers, e\.g\. 0/8 to 7/8"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["8/8", "9/8"])
def test_a_number_beyond_the_last_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a job array that counts from 1"):
        Shard.parse(text)


def test_no_shards_at_all_are_refused_as_such() -> None:
    with pytest.raises(UserError, match=r"--shard '0/0': 0 shards have no first; the number after the slash"):
        Shard.parse("0/0")

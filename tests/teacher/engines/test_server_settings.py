from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cache.errors import UserError
from pipeline.config import load_config
from stages.teacher.engines.server_settings import ServerSettings


def refusal(url: str) -> str:
    with pytest.raises(ValidationError) as found:
        ServerSettings(urls=[url])
    return str(found.value.errors()[0]["msg"])


def test_a_slash_at_the_end_is_not_part_of_the_address() -> None:
    urls = ["https://one.example/v1/", "http://[::1]:8000/v1", "http://two.example:80/api/v3"]
    assert ServerSettings(urls=urls).urls == [urls[0].rstrip("/"), *urls[1:]]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8000/v1", "must begin with http:// or https://"),
        ("ftp://host/v1", "must begin with http:// or https://"),
        ("http://", "not an address with a host and a port"),
        ("http://host:99999/v1", "not an address with a host and a port"),
        ("http://host:port/v1", "not an address with a host and a port"),
        ("http://[::1/v1", "not an address with a host and a port"),
        ("http://my host/v1", "not an address with a host and a port"),
        ("http://höst/v1", "not an address with a host and a port"),
        ("http://host/v1?key=1", "nothing may follow"),
        ("http://host/v1#part", "nothing may follow"),
        ("http://name:word@host/v1", "must hold no user name and no password"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str, words: str) -> None:
    assert words in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@host/v1",
        "http://hunter2@host/v1",
        "http://me:hunter2/@host/v1",
        "http://me:#hunter2@host/v1",
        "me:hunter2@host/v1",
        "http://host/v1?key=hunter2",
        "http://host/v1#hunter2",
        "ftp://me:hunter2@host/v1?hunter2",
    ],
)
def test_a_secret_in_an_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(UserError) as reason:
        load_config(Path("demo"), [f"teacher.server.urls=['{url}']"])
    assert "teacher.server.urls.0: " in str(reason.value)
    assert "hunter2" not in str(reason.value)


def test_an_address_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"http://host/v1 is named twice; raise teacher\.server\."):
        ServerSettings(urls=["http://host/v1", "http://host/v1/"])


def test_no_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        ServerSettings(urls=[])

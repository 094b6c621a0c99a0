"""A manifest comes back from its file as it was, also from a file of the format before."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from cache.fidelity import bank_fidelity
from cache.keys import fingerprint
from cache.manifest import add_parts, load_manifest, load_manifest_copy
from cache.manifest_file import from_json, to_json
from cache.part import Manifest, Part
from cache.paths import StorePaths
from cache.repair import repair
from cache.verify import verify
from tests.cache.small_store import VISION, embed_pictures, small_store

FILE = Path("manifest.json")
ENDS = st.sampled_from(['}, {"', '\\"}, {\\"'])  # what stands between two parts on one line
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | ENDS
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PRODUCERS = st.lists(st.dictionaries(TEXT, JSON, max_size=3), min_size=1, max_size=4)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Parts of a few producers, some of them the same object, some only equal."""
    producers = draw(PRODUCERS)
    parts = []
    for path in draw(st.lists(TEXT, max_size=8)):
        producer = draw(st.sampled_from(producers))
        producer = copy.deepcopy(producer) if draw(st.booleans()) else producer
        measured = draw(st.dictionaries(TEXT, JSON, max_size=2))
        numbers = draw(st.integers(0, 1 << 60)), draw(st.integers(0, 1 << 60))
        parts.append(Part(path, "bank", draw(TEXT), *numbers, "sum", draw(TEXT), "then", producer, measured))
    return Manifest(
        draw(TEXT), tuple(draw(st.lists(TEXT))), draw(st.dictionaries(TEXT, TEXT)), parts=tuple(parts)
    )


@given(manifests())
def test_what_is_written_comes_back(manifest: Manifest) -> None:
    data = to_json(manifest)
    found = from_json(data, FILE)
    assert found == manifest
    assert to_json(found) == data, "and is written again as it was"


@given(manifests())
def test_every_distinct_producer_is_there_once(manifest: Manifest) -> None:
    data = to_json(manifest)
    wanted = {fingerprint(part.producer) for part in manifest.parts}
    written = json.loads(data)["producers"]
    assert len(written) == len(wanted)
    assert {fingerprint(producer) for producer in written} == wanted
    objects = {id(part.producer) for part in from_json(data, FILE).parts}
    assert len(objects) == len(wanted), "and is shared by the parts that have it"


def test_a_part_is_a_line() -> None:
    parts = tuple(Part(f"{i}", "bank", "b", 1, 1, "", "", "", {"command": "c"}) for i in range(9))
    lines = to_json(Manifest(parts=parts)).decode().splitlines()
    assert sum('"path"' in line for line in lines) == 9
    assert sum('"command"' in line for line in lines) == 1


def in_format_1(manifest: Manifest) -> bytes:
    """As the version before wrote it: every part with its producer, and a shard's fidelity in that."""
    fields: dict[str, Any] = {"format": 1, **asdict(manifest)}
    for part in fields["parts"]:
        part["producer"] |= part.pop("measured")
    return (json.dumps({**fields, "checksum": fingerprint(fields)}, indent=1) + "\n").encode()


@pytest.fixture
def older(tmp_path: Path) -> StorePaths:
    """A store of format 1."""
    paths = small_store(tmp_path)
    data = in_format_1(load_manifest(paths))
    paths.manifest.write_bytes(data)
    paths.manifest_copy.write_bytes(data)
    return paths


def test_a_store_of_the_format_before_is_read_and_left_as_it_is(tmp_path: Path, older: StorePaths) -> None:
    before = older.manifest.read_bytes()
    found = load_manifest(older)
    assert found == from_json(to_json(found), FILE)
    assert bank_fidelity(found, VISION) is not None
    assert all("fidelity" not in part.producer for part in found.parts)
    assert len({id(part.producer) for part in found.parts if part.kind == "bank"}) == 1
    assert verify(older) == []
    assert repair(older) == []
    assert older.manifest.read_bytes() == older.manifest_copy.read_bytes() == before


def test_the_next_writer_brings_it_to_this_format(older: StorePaths) -> None:
    parts, before = load_manifest(older).parts, older.manifest.stat().st_size
    embed_pictures(older, ["new.jpg"])
    assert json.loads(older.manifest.read_bytes())["format"] == 2
    kept = [part for part in parts if part.kind != "index" or part.name != "pictures"]
    assert [part for part in load_manifest(older).parts if part in kept] == kept
    assert load_manifest_copy(older) == load_manifest(older)
    assert older.manifest.stat().st_size < before
    assert verify(older) == []


def test_damage_of_an_older_manifest_is_found_too(older: StorePaths) -> None:
    text = older.manifest.read_text()
    older.manifest.write_text(text.replace("sleeping", "sleepinh"))
    with pytest.raises(UserError, match="was changed after it was written"):
        load_manifest(older)
    assert [action.deed for action in repair(older)] == ["restore"]
    assert older.manifest.read_text() == text


def test_a_manifest_grows_by_the_part_alone(tmp_path: Path) -> None:
    """23,000 parts took 17 MB while each had its producer, of about 500 bytes, with it."""
    paths = StorePaths(tmp_path)
    producer = {"command": "c", "versions": {f"package-{i}": "1.2.3" for i in range(20)}}
    sizes = []
    for count in (1, 20):
        names = [f"rationales/part-{count}-{i:05d}.parquet" for i in range(count)]
        add_parts(paths, [Part(n, "rationales", "", 4, 9, "c" * 32, "", "", dict(producer)) for n in names])
        sizes.append(paths.manifest.stat().st_size)
    assert (sizes[1] - sizes[0]) / 20 < 250

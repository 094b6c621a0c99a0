"""docs/store-format.md says enough: a reader written from it alone reads what the package reads."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from cache.bank_reader import BankReader
from cache.codec import STORAGE_TYPES, StorageType
from cache.index import search
from cache.keys import digest_file, fingerprint
from cache.manifest import Part, load_manifest
from cache.paths import StorePaths
from cache.rationales import (
    QUARANTINE_SCHEMA,
    SCHEMA,
    append_rationales,
    read_quarantine,
    read_rationales,
    usable_texts,
)
from cache.vectors import PICTURES, RATIONALES, label_schema, read_labels, read_vectors, vector_schema
from tests.cache.small_store import (
    IMAGES,
    TEXT,
    VISION,
    bank_header,
    embed_texts,
    four,
    noise,
    row,
    small_store,
    write_shard,
)
from tests.docs import store_reader
from tests.docs.store_reader import Store

DOCUMENT = Path(__file__).parents[2] / "docs" / "store-format.md"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """With a picture written anew, one that went back to an earlier version, and one left without a text."""
    paths = small_store(tmp_path_factory.mktemp("format") / "store")
    for key in ("key-2", "key"):
        append_rationales(paths, four(IMAGES[0], key), {"command": "test"})
    rejected = [{**one, "status": "rejected", "reason": "no"} for one in four(IMAGES[1], "key-3")]
    append_rationales(paths, rejected, {"command": "test"})
    append_rationales(paths, [row(IMAGES[3], attempt=1, text="a better one")], {"command": "test"})
    embed_texts(paths)
    return paths


@pytest.fixture(scope="module")
def store(paths: StorePaths) -> Store:
    return Store.open(paths.root)


def test_the_reader_imports_nothing_of_the_package() -> None:
    source = Path(store_reader.__file__).read_text(encoding="utf-8")
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    tops = {n.module.split(".")[0] for n in names if isinstance(n, ast.ImportFrom) and n.module}
    tops |= {alias.name.split(".")[0] for n in names if isinstance(n, ast.Import) for alias in n.names}
    assert not tops & {"cache", "stages", "pipeline", "tests"}


def test_the_document_names_every_field_and_column() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    columns = [*SCHEMA.names, *QUARANTINE_SCHEMA.names, *vector_schema(1).names, *label_schema(1).names]
    for name in [*columns, *Part.__dataclass_fields__, *STORAGE_TYPES]:
        assert f"`{name}`" in text, name


def test_manifest_checksums_and_files_are_as_described(store: Store) -> None:
    assert store.manifest["held_out_verbs"] == ["sleeping", "water skiing"]
    assert store.damaged() == []
    assert {part["kind"] for part in store.manifest["parts"]} == {
        "rationales",
        "quarantine",
        "bank",
        "vectors",
        "labels",
        "index",
    }


def test_a_changed_byte_is_found(paths: StorePaths, tmp_path: Path) -> None:
    told = json.loads(paths.manifest.read_text(encoding="utf-8"))
    told["data_fingerprint"] = "another"
    (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        Store.open(tmp_path)


def test_current_and_usable_rationales_are_those_that_training_reads(paths: StorePaths, store: Store) -> None:
    frame = read_rationales(paths)
    assert store.current_rationales() == frame.filter("current").drop("current", "usable").to_dicts()
    assert store.texts() == {image: list(texts) for image, texts in usable_texts(paths, IMAGES).items()}
    assert store.texts()[IMAGES[1]] == [""] * 4
    assert store.texts()[IMAGES[3]][0] == "a better one"


def test_failures_are_the_newest_of_each_picture_and_stage(paths: StorePaths, store: Store) -> None:
    assert store.failures() == read_quarantine(paths).to_dicts()


def test_bank_rows_and_their_keys_are_read(paths: StorePaths, store: Store) -> None:
    for name in (VISION, TEXT):
        reader, rows = BankReader(paths, name), store.bank(name)
        assert {image: read.key for image, read in rows.items()} == reader.row_keys
        for image, read in rows.items():
            told = reader.read(image)
            np.testing.assert_array_equal(read.tokens, told.tokens)
            assert read.lengths == (None if told.lengths is None else told.lengths.tolist())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_every_storage_type_is_decoded_with_and_without_lengths(
    tmp_path: Path, storage: StorageType, masked: bool
) -> None:
    paths = StorePaths(tmp_path)
    tokens = noise(2, 3, 8)
    tokens[1, 2] = 0
    header = bank_header("tokens", storage, (2, 3, 8), masked)
    write_shard(paths, header, {"a.jpg": tokens}, lengths=[3, 1] if masked else None)
    read, told = Store.open(tmp_path).bank("tokens")["a.jpg"], BankReader(paths, "tokens").read("a.jpg")
    np.testing.assert_array_equal(read.tokens, told.tokens)
    assert read.lengths == ([3, 1] if masked else None)


def test_row_keys_follow_from_the_texts(store: Store) -> None:
    mark = store.manifest["current"][TEXT]
    texts = store.texts()
    for image, read in store.bank(TEXT).items():
        assert read.key == store_reader.fingerprint([mark, *texts[image]])


def test_fingerprints_are_computed_as_described(tmp_path: Path) -> None:
    value = {"é": [1, 2.5, 0.1, None, True], "a": {"z": 'q"\n', "b": []}, "mean": 0.48145466}
    assert store_reader.fingerprint(value) == fingerprint(value)
    (tmp_path / "file").write_bytes(b"bytes")
    assert store_reader.digest(b"bytes") == digest_file(tmp_path / "file")


def test_vectors_their_ids_and_labels_are_read(paths: StorePaths, store: Store) -> None:
    for family in (PICTURES, RATIONALES):
        told, read = read_vectors(paths, family), store.vectors(family)
        assert {one["id"]: one["vector"] for one in told.iter_rows(named=True)} == {
            id_: one["vector"] for id_, one in read.items()
        }
        for id_, found in read.items():
            assert id_ == store_reader.vector_id(found["image"], found["aspect"], found["polarity"])
    labels, vectors = store.labels("verbs")
    told_labels, told_vectors = read_labels(paths, "verbs")
    assert labels == told_labels
    np.testing.assert_array_equal(vectors, told_vectors)


def test_a_search_finds_what_the_package_finds(paths: StorePaths, store: Store) -> None:
    query = noise(8, seed="query")
    (hits,) = search(paths, RATIONALES, query[None], 5)
    rows = store.vectors(RATIONALES)
    found = [(rows[id_]["image"], rows[id_]["aspect"]) for id_, _ in store.nearest(RATIONALES, query, 5)]
    assert found == [(hit.image, hit.aspect) for hit in hits]


def test_the_manifest_in_force_is_the_document_s_format(paths: StorePaths) -> None:
    told = json.loads(paths.manifest.read_text(encoding="utf-8"))
    assert set(told) == {
        "format",
        "data_fingerprint",
        "held_out_verbs",
        "current",
        "producers",
        "parts",
        "checksum",
    }
    assert len(load_manifest(paths).parts) == len(told["parts"])

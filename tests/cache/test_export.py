"""What is exported opens elsewhere, is the same every time, and comes back as it was."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cache import export
from cache.atomic import TEMPORARY
from cache.bank_reader import BankReader
from cache.errors import MachineError, UserError
from cache.export import COLUMNS, EXPORT_SCHEMA, Form, export_tables
from cache.imports import Import, Target, import_rows
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import SCHEMA, append_rationales, read_rationales
from cache.webdataset import export_webdataset
from tests.cache.small_store import (
    HELD_OUT,
    IMAGES,
    PRODUCER,
    TEXT,
    VISION,
    empty_store,
    four,
    row,
    small_store,
)

FORMS: tuple[Form, ...] = ("parquet", "hf", "webdataset")
TARGET = Target(
    "d", HELD_OUT, frozenset(IMAGES), lambda row: "sleeping" if "sleeping" in row["text"] else None
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """Two splits, an earlier version, a rejected attempt, a score."""
    paths = small_store(tmp_path_factory.mktemp("store"))
    rows = four(IMAGES[0], "newer", split="dev", text='žluťoučký "kůň"\n<script>', seconds=0.1, score=4)
    append_rationales(paths, rows, PRODUCER)
    return paths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for image in IMAGES:
        (folder / image).write_bytes(f"picture {image}".encode())
    return folder


def newest(paths: StorePaths) -> list[dict[str, Any]]:
    frame = read_rationales(paths).filter("current").drop("current")
    return frame.sort("image", "attempt", "aspect", "polarity").to_dicts()


def write(paths: StorePaths, out: Path, form: Form, pictures: Path, per_file: int = 0) -> Path:
    if form == "webdataset":
        export_webdataset(paths, out, pictures.joinpath, lambda image: {"of": image}, (), per_file)
    else:
        export_tables(paths, out, form, per_file)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sql(query: str) -> list[Any]:
    found = duckdb.sql(query)
    assert found is not None
    return found.fetchall()


def test_the_parts_of_a_store_open_as_they_are(store: StorePaths) -> None:
    """In polars, DuckDB and pyarrow; the manifest says which rows are current, the files hold all."""
    pattern, rows = f"{store.rationales}/*.parquet", 17 + 4
    assert pl.read_parquet(pattern).height == rows
    counted = sql(f"select status, count(*) from '{pattern}' group by status order by status")
    assert counted == [("accepted", rows - 1), ("rejected", 1)]
    assert ds.dataset(store.rationales, format="parquet").count_rows() == rows
    assert sql(f"select count(*) from '{store.quarantine}/*.parquet'") == [(1,)]
    names = sql(f"select column_name from (describe select * from '{pattern}')")
    assert [name for (name,) in names] == SCHEMA.names


def test_parquet_has_a_file_for_each_split(store: StorePaths, tmp_path: Path) -> None:
    done = export_tables(store, tmp_path / "out", "parquet")
    assert sorted(contents(tmp_path / "out")) == ["README.md", "dev.parquet", "train.parquet"]
    assert (done.pictures, done.rows, done.files) == (4, 17, ("dev.parquet", "train.parquet"))
    frame = pl.read_parquet(tmp_path / "out" / "*.parquet")
    assert frame.sort("image", "attempt", "aspect", "polarity").to_dicts() == newest(store)
    assert pq.read_schema(tmp_path / "out" / "dev.parquet").remove_metadata() == EXPORT_SCHEMA
    usable = sql(f"select count(*) from '{tmp_path}/out/train.parquet' where usable")
    assert usable == [(12,)]


def test_every_column_is_told(store: StorePaths, tmp_path: Path) -> None:
    assert list(COLUMNS) == EXPORT_SCHEMA.names
    export_tables(store, tmp_path / "out", "parquet")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| `score` | int8 | the judging model's points, 1 to 5; null where only rules judged |" in readme
    assert "17 rows of 4 pictures" in readme
    assert (
        "Data set fingerprint: `d`. Held-out verbs, which no usable row may name: sleeping, water" in readme
    )


def test_datasets_opens_the_folder_as_it_is(
    store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    export_tables(store, tmp_path / "out", "hf", pictures_per_file=2)
    assert sorted(contents(tmp_path / "out")) == [
        "README.md",
        "data/dev-00000-of-00001.parquet",
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"dev": 4, "train": 13}
    assert found["train"].features["attempt"].dtype == "int16"
    rows = [*found["dev"], *found["train"]]
    order = ["image", "attempt", "aspect", "polarity"]
    assert sorted(rows, key=lambda row: [row[name] for name in order]) == newest(store)


def test_datasets_opens_the_parts_of_a_store(
    store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = sorted(map(str, store.rationales.glob("*.parquet")))
    found = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert found.column_names == SCHEMA.names
    assert len(found) == 21


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        opened = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in opened.items() if file}


def test_a_webdataset_has_all_of_a_picture_under_one_key(
    store: StorePaths, pictures: Path, tmp_path: Path
) -> None:
    told: list[int] = []
    annotation: Mapping[str, Any] = {"verb": "jumping", "boxes": [[1.5, 2, 3, 4], None]}
    out = tmp_path / "out"
    export_webdataset(store, out, pictures.joinpath, lambda i: annotation, (VISION, TEXT), 2, told.append)
    assert sorted(contents(out)) == [
        "dev-00000-of-00001.tar",
        "train-00000-of-00002.tar",
        "train-00001-of-00002.tar",
    ]
    found = members(out / "dev-00000-of-00001.tar")
    assert list(found) == [
        "jumping_1.jpg",
        "jumping_1.json",
        f"jumping_1.{VISION}.npy",
        f"jumping_1.{TEXT}.npy",
        f"jumping_1.{TEXT}.lengths.npy",
    ]
    assert found["jumping_1.jpg"] == f"picture {IMAGES[0]}".encode()
    record = json.loads(found["jumping_1.json"])
    assert (record["image"], record["annotation"]) == (IMAGES[0], annotation)
    assert [row["text"] for row in record["rationales"]] == ['žluťoučký "kůň"\n<script>'] * 4
    row_ = BankReader(store, TEXT).read(IMAGES[0])
    assert np.array_equal(np.load(io.BytesIO(found[f"jumping_1.{TEXT}.npy"])), row_.tokens)
    lengths = np.load(io.BytesIO(found[f"jumping_1.{TEXT}.lengths.npy"]))
    assert row_.lengths is not None
    assert np.array_equal(lengths, row_.lengths)
    assert sum(told) == 4


def test_names_with_dots_do_not_share_a_key(tmp_path: Path) -> None:
    """WebDataset's key ends at the first dot."""
    paths, names = (
        empty_store(tmp_path / "store"),
        ["a.b.jpg", "a.c.jpg", "x.jpg", "x.png", "n%2Ex.JPG", "bare"],
    )
    for name in names:
        append_rationales(paths, four(name), PRODUCER)
        (tmp_path / name).touch()
    write(paths, tmp_path / "out", "webdataset", tmp_path)
    found = [name for name in members(tmp_path / "out" / "train-00000-of-00001.tar") if "json" not in name]
    assert found == ["a%2Eb.jpg", "a%2Ec.jpg", "bare.img", "n%252Ex.jpg", "x%2Ejpg.jpg", "x%2Epng.png"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_store_gives_the_same_bytes(
    store: StorePaths, pictures: Path, tmp_path: Path, form: Form
) -> None:
    first = contents(write(store, tmp_path / "first", form, pictures))
    again = StorePaths(tmp_path / "moved")
    shutil.copytree(store.root, again.root)
    for picture in pictures.iterdir():
        picture.touch()
    assert contents(write(again, tmp_path / "second", form, pictures)) == first


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("per_file", [0, 1, 3])
def test_what_was_exported_comes_back_as_it_was(
    store: StorePaths, pictures: Path, tmp_path: Path, form: Form, per_file: int
) -> None:
    out = write(store, tmp_path / "out", form, pictures, per_file)
    paths = StorePaths(tmp_path / "store")
    assert import_rows(paths, out, form, TARGET, PRODUCER) == Import(17, 0, 0, 4, 0)
    assert newest(paths) == newest(store)
    assert load_manifest(paths).data_fingerprint == "d"
    assert load_manifest(paths).held_out_verbs == HELD_OUT
    before = load_manifest(paths)
    assert import_rows(paths, out, form, TARGET, PRODUCER) == Import(0, 17, 0, 0, 0)
    assert load_manifest(paths) == before, "nothing twice"


def test_an_import_becomes_the_newest_version_and_the_own_one_stays(
    store: StorePaths, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_tables(store, out, "parquet")
    paths = empty_store(tmp_path / "store")
    append_rationales(paths, [*four(IMAGES[0], "own"), *four(IMAGES[1], "key")[:2]], PRODUCER)
    done = import_rows(paths, out, "parquet", TARGET, PRODUCER)
    assert done == Import(added=15, skipped=2, foreign=0, pictures=4, replaced=1)
    frame = read_rationales(paths)
    assert set(frame.filter(pl.col("current"), image=IMAGES[0])["request_key"]) == {"newer"}
    assert set(frame.filter(~pl.col("current"))["request_key"]) == {"own"}
    assert newest(paths) == newest(store)


def test_one_file_of_an_export_can_be_imported(store: StorePaths, tmp_path: Path) -> None:
    export_tables(store, tmp_path / "out", "hf")
    file = tmp_path / "out" / "data" / "dev-00000-of-00001.parquet"
    assert import_rows(StorePaths(tmp_path / "s"), file, "hf", TARGET, PRODUCER).added == 4


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_another_data_set_are_refused(
    store: StorePaths, pictures: Path, tmp_path: Path, form: Form
) -> None:
    out, paths = write(store, tmp_path / "out", form, pictures), StorePaths(tmp_path / "store")
    other = Target("e", HELD_OUT, frozenset(IMAGES[1:]), TARGET.leak)
    with pytest.raises(UserError, match=r"is of data set d, this one is e: annotations, .+ with --force$"):
        import_rows(paths, out, form, other, PRODUCER)
    assert not paths.manifest.exists()
    assert import_rows(paths, out, form, other, PRODUCER, force=True) == Import(13, 0, 4, 3, 0)


def test_rows_that_do_not_say_of_which_data_set_are_refused(store: StorePaths, tmp_path: Path) -> None:
    export_tables(store, tmp_path / "out", "parquet")
    pl.read_parquet(tmp_path / "out" / "dev.parquet").write_parquet(tmp_path / "again.parquet")
    paths = StorePaths(tmp_path / "store")
    with pytest.raises(
        UserError, match=r"again\.parquet does not say of which data set, this one is d: annot"
    ):
        import_rows(paths, tmp_path / "again.parquet", "parquet", TARGET, PRODUCER)
    assert import_rows(paths, tmp_path / "again.parquet", "parquet", TARGET, PRODUCER, force=True).added == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aspect": "glance"}, "is of no known aspect"),
        ({"image": "stranger.jpg"}, "is of no picture of this data set"),
        ({"text": "sleeping"}, "names held-out verb 'sleeping'"),
        ({"contrast_verb": "sleeping"}, "names held-out verb 'sleeping'"),
        ({"contrast_nouns": "{"}, "has no JSON object of texts in contrast_nouns"),
        ({"contrast_nouns": '{"agent": ["n1"]}'}, "has no JSON object of texts in contrast_nouns"),
        ({"sampling": "7"}, "has no JSON object in sampling"),
        ({"score": 0}, "has a score other than 1 to 5"),
    ],
)
def test_bad_rows_are_named_and_nothing_is_imported(
    tmp_path: Path, pictures: Path, changes: Mapping[str, Any], reason: str
) -> None:
    paths = empty_store(tmp_path / "from")
    bad = {**row(IMAGES[1]), **changes}
    append_rationales(paths, [*four(IMAGES[0]), bad], PRODUCER)
    export_tables(paths, tmp_path / "out", "parquet")
    to = StorePaths(tmp_path / "to")
    place = rf"/out/train\.parquet: row 4 \({bad['image']}\) {reason}"
    with pytest.raises(UserError, match=rf"^1 rows cannot be imported, so nothing was:\n  .+{place}"):
        import_rows(to, tmp_path / "out", "parquet", TARGET, PRODUCER)
    assert not to.manifest.exists()


def rewritten(folder: Path, change: Any) -> Path:
    """The first tar of an export with its JSON changed."""
    (file,) = sorted(folder.glob("train*.tar"))[:1]
    found = members(file)
    with tarfile.open(folder / "changed.tar", "w") as tar:
        for name, data in found.items():
            if name.endswith(".json"):
                data = json.dumps(change(json.loads(data))).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return folder / "changed.tar"


def changed_row(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    record["rationales"][0] |= changes
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: [], "holds no list of rationales: it is no export of a store"),
        (lambda record: {**record, "rationales": [7]}, "holds no list of rationales"),
        (lambda record: {**record, "rationales": [{"image": "a"}]}, "lacks the columns split, verb, aspect"),
        (lambda record: changed_row(record, attempt="one"), "holds a value of another type than the store's"),
        (lambda record: changed_row(record, seed=2**70), "holds a value of another type than the store's"),
        (lambda record: changed_row(record, text=None), "row 0 has no text; nothing was imported"),
        (
            lambda record: {**record, "mipd-pipe": {"version": 2}},
            "was exported in layout 2; this version reads",
        ),
    ],
)
def test_what_is_no_export_is_refused_by_name(
    store: StorePaths, pictures: Path, tmp_path: Path, change: Any, message: str
) -> None:
    file = rewritten(write(store, tmp_path / "out", "webdataset", pictures), change)
    with pytest.raises(UserError, match=rf"changed\.tar.* {message}"):
        import_rows(StorePaths(tmp_path / "store"), file, "webdataset", TARGET, PRODUCER)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_something_else_is_refused(tmp_path: Path, form: Form) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"PAR1 or not" * 100)
    with pytest.raises(UserError, match="cannot be read as "):
        import_rows(StorePaths(tmp_path / "store"), file, form, TARGET, PRODUCER)
    with pytest.raises(UserError, match=r"no \*\.(parquet|tar) file in "):
        import_rows(StorePaths(tmp_path / "store"), tmp_path, form, TARGET, PRODUCER)


def test_a_folder_that_is_there_is_not_written_over(store: StorePaths, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_tables(store, tmp_path / "out", "parquet")
    with pytest.raises(
        UserError, match="out is there already; give the name of a new folder, or move it away"
    ):
        export_tables(store, tmp_path / "out", "parquet")


def test_an_empty_store_has_nothing_to_export(tmp_path: Path) -> None:
    paths = empty_store(tmp_path / "store")
    with pytest.raises(
        UserError, match="has no rationales to export; make them with `mipd-pipe generate-rat"
    ):
        export_tables(paths, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_nothing_behind_and_a_killed_one_is_cleared_away(
    store: StorePaths, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / f"out{TEMPORARY}export"
    (killed / "data").mkdir(parents=True)
    (killed / "data" / "old.parquet").touch()
    (killed / "old.tar").touch()

    def full(target: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_bytes", full)
        with pytest.raises(MachineError, match="no space left to write"):
            export_tables(store, tmp_path / "out", "parquet")
    assert list(tmp_path.iterdir()) == []
    killed.mkdir()
    (killed / "old.tar").touch()
    write(store, tmp_path / "out", "webdataset", pictures)
    assert not (tmp_path / "out" / "old.tar").exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_picture_that_is_missing_is_named(store: StorePaths, pictures: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "pictures"
    shutil.copytree(pictures, elsewhere)
    (elsewhere / IMAGES[1]).unlink()
    with pytest.raises(
        UserError, match=r"picture 'jumping_2\.jpg' cannot be read .+ put it back, or export to"
    ):
        write(store, tmp_path / "out", "webdataset", elsewhere)
    assert not (tmp_path / "out").exists()

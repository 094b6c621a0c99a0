"""Banks: rows come back from any process, damage is named, a killed writer leaves nothing that counts."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cache.bank_writer
from cache.bank_header import BankHeader, read_header, write_header
from cache.bank_reader import BankReader
from cache.bank_writer import ShardWriter
from cache.codec import STORAGE_TYPES, StorageType, decode, encode
from cache.errors import UserError
from cache.keys import digest_file
from cache.manifest import editing, load_manifest, put_in_force, remove_leftovers
from cache.paths import StorePaths
from tests.cache.small_store import PRODUCER, VISION, bank_header, empty_store, noise, write_shard
from tests.cache.workers import die_in_shard

FORK = multiprocessing.get_context("fork")
REBUILD = "rebuild the bank with `mipd-pipe embed-teacher`$"
FIND = r"find the damage with `mipd-pipe inspect verify`$"


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return empty_store(tmp_path)


@pytest.fixture
def one_shard(store: StorePaths) -> Path:
    """A bank of twenty rows of two pages each; its file."""
    write_shard(store, bank_header(shape=(40, 50)), {f"{i}.jpg": noise(40, 50, seed=i) for i in range(20)})
    return store.root / load_manifest(store).of("bank", VISION)[0].path


@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_rows_come_back_with_their_lengths(store: StorePaths, storage: StorageType) -> None:
    header = bank_header("text", storage, (4, 7, 16), masked=True)
    rows = {f"{i}.jpg": noise(4, 7, 16, seed=i) for i in range(30)}
    write_shard(store, header, rows, lengths=[7, 0, 3, 1])
    reader = BankReader(store, "text")
    assert reader.header == header
    assert set(reader.images) == set(rows)
    for image, tokens in rows.items():
        found = reader.read(image)
        assert found.lengths is not None
        assert found.lengths.tolist() == [7, 0, 3, 1]
        assert found.tokens.dtype == np.float32
        assert np.array_equal(found.tokens, decode(encode(tokens, storage), tokens.shape, storage))
        assert len(reader.payload(image)) == header.row_bytes


def test_a_bank_without_masks_has_no_lengths(store: StorePaths) -> None:
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    found = BankReader(store, VISION).read("a.jpg")
    assert found.lengths is None
    assert np.array_equal(found.tokens, noise(3, 8))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 600), st.sets(st.text("ažb/. ", min_size=1, max_size=200), min_size=1)
)
def test_any_shape_and_names_fit_the_capacity(tokens: int, dim: int, images: set[str]) -> None:
    with TemporaryDirectory() as folder:
        paths = StorePaths(Path(folder))
        rows = {image: noise(tokens, dim, seed=image) for image in images}
        write_shard(paths, bank_header(shape=(tokens, dim)), rows)
        reader = BankReader(paths, VISION)
        assert set(reader.images) == images
        assert all(np.array_equal(reader.read(image).tokens, rows[image]) for image in images)
        reader.close()


@pytest.mark.parametrize("dim", [375, 1024, 1021])
def test_a_full_shard_of_long_names_fits_the_capacity(store: StorePaths, dim: int) -> None:
    """Rows of which two do not fit a page; that do not fit one with its header; that just fit one."""
    images = [f"{i:04d}" + "ž" * 253 for i in range(1500)]
    write_shard(store, bank_header(shape=(1, dim)), dict.fromkeys(images, np.ones((1, dim), np.float32)))
    assert len(BankReader(store, VISION)) == len(images)


def test_rows_that_are_written_in_several_goes_are_all_there(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real banks pass 64 MiB within a shard; here every third row goes to the file."""
    monkeypatch.setattr(cache.bank_writer, "_COMMIT_BYTES", 3 * bank_header().row_bytes)
    rows = {f"{i}.jpg": noise(3, 8, seed=i) for i in range(10)}
    write_shard(store, bank_header(), rows)
    reader = BankReader(store, VISION)
    assert all(np.array_equal(reader.read(image).tokens, rows[image]) for image in rows)


def test_a_later_shard_replaces_an_earlier_row(store: StorePaths) -> None:
    header = bank_header()
    write_shard(
        store, header, {"a.jpg": noise(3, 8), "b.jpg": noise(3, 8)}, {"a.jpg": "aa" * 16, "b.jpg": "bb" * 16}
    )
    write_shard(store, header, {"a.jpg": noise(3, 8, seed="new")}, {"a.jpg": "cc" * 16})
    reader = BankReader(store, VISION)
    assert len(reader) == 2
    assert "a.jpg" in reader
    assert "c.jpg" not in reader
    assert reader.row_keys == {"a.jpg": "cc" * 16, "b.jpg": "bb" * 16}
    assert np.array_equal(reader.read("a.jpg").tokens, noise(3, 8, seed="new"))
    assert np.array_equal(reader.read("b.jpg").tokens, noise(3, 8))


def test_a_row_added_twice_counts_once(store: StorePaths) -> None:
    write_header(store, bank_header())
    with ShardWriter.open(store, bank_header(), 2, PRODUCER) as shard:
        shard.add("a.jpg", "aa" * 16, noise(3, 8))
        shard.add("a.jpg", "bb" * 16, noise(3, 8))
    assert [part.rows for part in shard.parts()] == [1]


def test_other_settings_have_their_own_rows(store: StorePaths) -> None:
    """And going back to the earlier ones finds theirs."""
    old, new = bank_header(encoder="old"), bank_header(shape=(5, 4), encoder="new")
    write_shard(store, old, {"a.jpg": noise(3, 8)})
    write_shard(store, new, {"b.jpg": noise(5, 4)})
    assert BankReader(store, VISION).images == ["b.jpg"]
    assert read_header(store, VISION) == new
    put_in_force(store, VISION, old.fingerprint)
    assert BankReader(store, VISION).images == ["a.jpg"]


def test_a_shard_without_rows_leaves_no_file(store: StorePaths) -> None:
    write_shard(store, bank_header(), {})
    assert load_manifest(store).parts == ()
    assert list(store.bank(VISION).glob("*.lmdb*")) == []
    assert len(BankReader(store, VISION)) == 0


def test_a_reader_sees_the_store_as_it_was_when_it_was_made(store: StorePaths) -> None:
    """A writer may add shards beside it."""
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    reader = BankReader(store, VISION)
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8, seed="new"), "b.jpg": noise(3, 8)})
    assert reader.images == ["a.jpg"]
    assert np.array_equal(reader.read("a.jpg").tokens, noise(3, 8))


def test_a_closed_reader_opens_again(store: StorePaths) -> None:
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    reader = BankReader(store, VISION)
    reader.close()
    assert reader.read("a.jpg").tokens.shape == (3, 8)


@pytest.mark.parametrize("rows", [1, 40])
def test_a_kill_in_the_middle_of_a_shard_leaves_nothing_that_counts(
    store: StorePaths, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything, and after most of the shard, has gone to the file."""
    header = bank_header(shape=(40, 50))
    monkeypatch.setattr(cache.bank_writer, "_COMMIT_BYTES", 5 * header.row_bytes)
    write_shard(store, header, {"before.jpg": noise(40, 50)})
    before = sorted(store.bank(VISION).iterdir())
    process = FORK.Process(target=die_in_shard, args=(store, header, rows))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert BankReader(store, VISION).images == ["before.jpg"]
    left = [path for path in store.bank(VISION).iterdir() if path not in before]
    assert len(left) == 1
    assert remove_leftovers(store) == left
    assert sorted(store.bank(VISION).iterdir()) == before
    write_shard(store, header, {"after.jpg": noise(40, 50)})
    assert BankReader(store, VISION).images == ["before.jpg", "after.jpg"]


def test_an_exception_in_the_middle_of_a_shard_leaves_no_file(store: StorePaths) -> None:
    def stop() -> None:
        with ShardWriter.open(store, bank_header(), 5, PRODUCER) as shard:
            shard.add("a.jpg", "00" * 16, noise(3, 8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert list(store.bank(VISION).iterdir()) == []


def test_a_missing_image_is_named(store: StorePaths) -> None:
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    message = (
        r"^bank 'student-vision' has no row for image 'b.jpg' \(it has 1 rows\); run `mipd-pipe "
        "embed-teacher` again with this data set$"
    )
    with pytest.raises(UserError, match=message):
        BankReader(store, VISION).read("b.jpg")


def test_a_missing_bank_is_named(store: StorePaths) -> None:
    put_in_force(store, "verbs", "v")  # a label family, not a bank
    message = rf"^the store at {store.root} has no bank 'x' \(it has: none\); make it with `mipd-pipe embed-"
    with pytest.raises(UserError, match=message):
        BankReader(store, "x")
    write_shard(store, bank_header(), {"a.jpg": noise(3, 8)})
    with pytest.raises(UserError, match=r"no bank 'x' \(it has: student-vision\)"):
        read_header(store, "x")


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store at"):
        BankReader(StorePaths(tmp_path), VISION)


def test_a_missing_shard_is_named(store: StorePaths, one_shard: Path) -> None:
    one_shard.unlink()
    message = rf"^bank shard {one_shard} cannot be read \(.*No such file or directory.*\); {FIND}"
    with pytest.raises(UserError, match=message):
        BankReader(store, VISION)


@pytest.mark.parametrize("keep", [0, 100, 8192, 20000])
def test_a_truncated_shard_is_named_and_does_not_kill_the_process(
    store: StorePaths, one_shard: Path, keep: int
) -> None:
    """LMDB maps the file: reading behind its end would be a SIGBUS."""
    size = one_shard.stat().st_size
    os.truncate(one_shard, keep)
    message = (
        rf"^bank shard {one_shard} cannot be read \(it has {keep} bytes, the manifest says {size}\); {FIND}"
    )
    with pytest.raises(UserError, match=message):
        BankReader(store, VISION)


def test_a_shard_that_shrinks_under_a_reader_is_named(store: StorePaths, one_shard: Path) -> None:
    reader = BankReader(store, VISION)
    os.truncate(one_shard, 20000)
    with pytest.raises(UserError, match="it has 20000 bytes, the manifest says"):
        reader.read("1.jpg")


@pytest.mark.parametrize("kind", ["no database", "other tables"])
def test_a_foreign_file_is_named_each_time(store: StorePaths, one_shard: Path, kind: str) -> None:
    size = one_shard.stat().st_size
    one_shard.write_bytes(b"x" * size)
    if kind == "other tables":
        one_shard.unlink()
        with lmdb.open(str(one_shard), subdir=False, lock=False, max_dbs=2) as env:
            env.open_db(b"rows")
        os.truncate(one_shard, size)
    caught = []  # kept, and with them whatever the first attempt had opened
    for _ in range(2):
        with pytest.raises(UserError, match=rf"^bank shard {one_shard} cannot be read \(") as found:
            BankReader(store, VISION)
        caught.append(found)
    assert str(caught[0].value) == str(caught[1].value)
    assert str(caught[0].value).endswith(FIND.rstrip("$"))


def change_shard(paths: StorePaths, shard: Path, table: bytes, key: bytes, value: bytes | None) -> None:
    """Puts or drops one entry in a finished shard and lists the file as it then is, but for its rows."""
    with lmdb.open(str(shard), subdir=False, lock=False, max_dbs=2) as env:
        db = env.open_db(table)
        with env.begin(write=True) as transaction:
            transaction.delete(key, db=db) if value is None else transaction.put(key, value, db=db)
    with editing(paths) as cell:
        (part,) = cell[0].parts
        part = replace(part, bytes=shard.stat().st_size, checksum=digest_file(shard))
        cell[0] = replace(cell[0], parts=(part,))


@pytest.mark.parametrize(("value", "size"), [(b"short", 5), (None, 0)])
def test_a_row_of_another_size_is_named(
    store: StorePaths, one_shard: Path, value: bytes | None, size: int
) -> None:
    change_shard(store, one_shard, b"rows", b"3.jpg", value)
    reason = rf"\(the row of image '3.jpg' has {size} bytes, the header says 8000\)"
    with pytest.raises(UserError, match=rf"^bank shard {one_shard} cannot be read {reason}; {FIND}"):
        BankReader(store, VISION).read("3.jpg")


@pytest.mark.parametrize(("key", "value", "rows"), [(b"3.jpg", None, 19), (b"more.jpg", b"k" * 16, 21)])
def test_a_shard_with_another_number_of_rows_is_named(
    store: StorePaths, one_shard: Path, key: bytes, value: bytes | None, rows: int
) -> None:
    change_shard(store, one_shard, b"keys", key, value)
    with pytest.raises(UserError, match=rf"\(it has {rows} rows, the manifest says 20\)"):
        BankReader(store, VISION)


def test_a_header_of_another_bank_is_refused(store: StorePaths) -> None:
    header = bank_header()
    write_shard(store, header, {"a.jpg": noise(3, 8)})
    path = store.bank(VISION) / f"{header.fingerprint[:12]}.json"
    path.write_text(path.read_text().replace("tiny", "tony"))
    message = rf"^bank header {path} is not the one its shards were written with; {REBUILD}"
    with pytest.raises(UserError, match=message):
        BankReader(store, VISION)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"shape": 3}'])
def test_a_broken_header_is_refused(store: StorePaths, text: str | None) -> None:
    header = bank_header()
    write_shard(store, header, {"a.jpg": noise(3, 8)})
    path = store.bank(VISION) / f"{header.fingerprint[:12]}.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=rf"^bank header {path} cannot be read \(.+\); {REBUILD}"):
        BankReader(store, VISION)


def test_the_fingerprint_of_a_header_covers_every_field(store: StorePaths) -> None:
    header = bank_header()
    changes: list[BankHeader] = [
        replace(header, name="other"),
        replace(header, storage="int8"),
        replace(header, shape=(3, 9)),
        replace(header, masked=True),
        replace(header, geometry={"size": 33}),
        replace(header, encoder={"encoder": "tiny", "revision": "2"}),
    ]
    assert len(changes) == len(header.__slots__)
    assert len({changed.fingerprint for changed in [header, *changes]}) == len(changes) + 1
    write_header(store, header)
    path = store.bank(VISION) / f"{header.fingerprint[:12]}.json"
    assert json.loads(path.read_text())["geometry"] == {"size": 32}


def test_names_outside_ascii_are_kept(store: StorePaths) -> None:
    images = ["žába_1.jpg", "跳.png", "a b/c.jpg", "🐸"]
    write_shard(store, bank_header(), {image: noise(3, 8, seed=image) for image in images})
    reader = BankReader(store, VISION)
    assert set(reader.images) == set(images)
    assert np.array_equal(reader.read("🐸").tokens, noise(3, 8, seed="🐸"))


@pytest.mark.parametrize(("image", "size"), [("ž" * 256, 512), ("", 0)])
def test_a_name_that_no_key_holds_is_refused(store: StorePaths, image: str, size: int) -> None:
    message = re.escape(
        f"image name {image[:60]!r}... has {size} bytes; a bank's key holds 1 to 511: rename the picture"
    )
    with pytest.raises(UserError, match=f"^{message}$"):
        write_shard(store, bank_header(), {image: noise(3, 8)})


def test_the_longest_name_fits(store: StorePaths) -> None:
    write_shard(store, bank_header(), {"a" * 511: noise(3, 8)})
    assert BankReader(store, VISION).images == ["a" * 511]


def test_a_value_that_the_storage_type_cannot_hold_is_named(store: StorePaths) -> None:
    message = (
        "^bank 'student-vision', image 'a.jpg': value 70000 is beyond fp16's 65504; store this bank as bf16$"
    )
    with pytest.raises(UserError, match=message):
        write_shard(store, bank_header(storage="fp16"), {"a.jpg": np.full((3, 8), 70000, np.float32)})

"""Label vectors are encoded once, whoever asks and however many at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import UserError
from cache.lock import writer_lock
from cache.manifest import load_manifest, remove_leftovers
from cache.paths import StorePaths
from cache.vectors import LABELS, read_labels
from cache.verify import verify
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.label_store import find_labels, store_labels
from stages.teacher.embedding.label_texts import encode_labels, label_texts
from stages.teacher.encoders.builtin_text import BuiltinText
from stages.teacher.encoders.encoder import TextTokens
from tests.cache.small_store import PRODUCER, empty_store, small_store
from tests.teacher.examples import VOCABULARY

FORK = multiprocessing.get_context("fork")
SETTINGS = EmbedSettings()


class CountingText(BuiltinText):
    """Counts the texts that it encodes."""

    encoded = 0

    def encode(self, texts: Sequence[str]) -> TextTokens:
        self.encoded += len(texts)
        return super().encode(texts)


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    return empty_store(tmp_path)


def encoder(variant: str = "text") -> CountingText:
    return CountingText(dim=8, pooled_dim=8, variant=variant)


def marks(paths: StorePaths) -> dict[str, list[str]]:
    return {
        family: [part.fingerprint for part in load_manifest(paths).of("labels", family)] for family in LABELS
    }


def test_every_family_is_stored_as_it_is_encoded(store: StorePaths) -> None:
    found = store_labels(store, VOCABULARY, encoder(), SETTINGS, PRODUCER, in_force=True)
    for family, texts in label_texts(VOCABULARY, SETTINGS).items():
        assert np.array_equal(found[family], encode_labels(texts, encoder()))
        labels, vectors = read_labels(store, family)
        assert labels == list(texts)
        assert np.array_equal(vectors, found[family])
    assert list(found) == list(LABELS)
    assert verify(store) == []


def test_what_is_stored_is_not_encoded_again(store: StorePaths) -> None:
    first = store_labels(store, VOCABULARY, encoder(), SETTINGS, PRODUCER)
    before = store.manifest.read_bytes()
    for get in (store_labels, find_labels):
        again, given = encoder(), (PRODUCER,) if get is store_labels else ()
        found = get(store, VOCABULARY, again, SETTINGS, *given)
        assert again.encoded == 0
        assert all(np.array_equal(found[family], first[family]) for family in LABELS)
    assert store.manifest.read_bytes() == before


def test_going_back_to_earlier_settings_encodes_nothing(store: StorePaths) -> None:
    first = store_labels(store, VOCABULARY, encoder(), SETTINGS, PRODUCER, in_force=True)
    other = store_labels(store, VOCABULARY, encoder("other"), SETTINGS, PRODUCER, in_force=True)
    assert not np.array_equal(first["verbs"], other["verbs"])
    back = encoder()
    assert np.array_equal(
        store_labels(store, VOCABULARY, back, SETTINGS, PRODUCER, in_force=True)["verbs"], first["verbs"]
    )
    assert back.encoded == 0
    assert np.array_equal(read_labels(store, "verbs")[1], first["verbs"])


@pytest.mark.parametrize(
    ("change", "families"),
    [
        ({"settings": EmbedSettings(noun_templates=["{noun}!"])}, {"nouns"}),
        ({"vocabulary": replace(VOCABULARY, nouns=VOCABULARY.nouns[::-1])}, {"nouns"}),
        ({"encoder": encoder("other")}, set(LABELS)),
    ],
)
def test_only_what_changed_is_encoded(store: StorePaths, change: dict[str, Any], families: set[str]) -> None:
    plain: Mapping[str, Any] = {
        "paths": store,
        "vocabulary": VOCABULARY,
        "encoder": encoder(),
        "settings": SETTINGS,
        "producer": PRODUCER,
    }
    store_labels(**plain)
    store_labels(**{**plain, **change})
    assert {family for family, found in marks(store).items() if len(found) == 2} == families


def test_labels_that_training_reads_change_only_when_asked(store: StorePaths) -> None:
    store_labels(store, VOCABULARY, encoder(), SETTINGS, PRODUCER, in_force=True)
    before = load_manifest(store).current
    store_labels(store, VOCABULARY, encoder("other"), SETTINGS, PRODUCER)
    assert load_manifest(store).current == before


def test_looking_for_labels_changes_nothing(tmp_path: Path) -> None:
    paths, asked = StorePaths(tmp_path / "store"), encoder()
    found = find_labels(paths, VOCABULARY, asked, SETTINGS)
    assert np.array_equal(
        found["nouns"], encode_labels(label_texts(VOCABULARY, SETTINGS)["nouns"], encoder())
    )
    assert asked.encoded > 0
    assert list(tmp_path.iterdir()) == []


def test_workers_that_begin_at_once_store_each_family_once_and_agree(store: StorePaths) -> None:
    """Another writer cleans up all the while: what they write must never look like a leftover."""
    start, (reader, writer) = FORK.Barrier(4), FORK.Pipe(duplex=False)

    def work() -> None:
        start.wait()
        for variant in map(str, range(5)):
            found = store_labels(store, VOCABULARY, encoder(variant), SETTINGS, PRODUCER)
            writer.send((variant, {family: vectors.tobytes() for family, vectors in found.items()}))

    def clean() -> None:
        with writer_lock(store.root, "embed-teacher"):
            start.wait()
            for _ in range(200):
                remove_leftovers(store)

    processes = [*(FORK.Process(target=work) for _ in range(3)), FORK.Process(target=clean)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    answers = [reader.recv() for _ in range(3 * 5)]
    for variant in map(str, range(5)):
        mine = [vectors for name, vectors in answers if name == variant]
        assert mine[0] == mine[1] == mine[2]
    assert all(len(found) == len(set(found)) == 5 for found in marks(store).values())
    assert verify(store) == []


def test_a_store_that_lost_its_manifest_gets_no_new_one(tmp_path: Path) -> None:
    """Everything else in it would be taken for leftovers then."""
    paths = small_store(tmp_path)
    paths.manifest.unlink()
    with pytest.raises(UserError, match=r"manifest\.json is missing, but there are 12 parts"):
        store_labels(paths, VOCABULARY, encoder(), SETTINGS, PRODUCER)
    assert not paths.manifest.exists()

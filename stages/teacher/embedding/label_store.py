"""Label vectors worked out once and kept in the store: of verbs, roles and nouns.

Encoding the 10,000 nouns of SWiG takes seconds to minutes, and every worker needs their vectors to begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from cache.keys import fingerprint
from cache.manifest import Manifest, editing, load_manifest, put_in_force, require_manifest
from cache.paths import StorePaths
from cache.vectors import read_labels, write_labels
from stages.data.vocabulary import Vocabulary
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.embedding.label_texts import encode_labels, label_texts
from stages.teacher.encoders.encoder import Floats, TextEncoder


class _Family(NamedTuple):
    """The labels of one kind: their sentences, and the fingerprint of all that decides their vectors."""

    name: str
    texts: dict[str, list[str]]
    mark: str


def store_labels(
    paths: StorePaths,
    vocabulary: Vocabulary,
    encoder: TextEncoder,
    settings: EmbedSettings,
    producer: dict[str, Any],
    in_force: bool = False,
) -> dict[str, Floats]:
    """Family -> vectors [N, E], from the store; what it lacks is encoded and added to it first.

    in_force   these are the labels that training reads from now on

    Several workers may do so at once, beside a writer that holds the store too: the vectors that are listed
    first are everybody's. The encoder's weights are read only where something is missing. Raises UserError
    where a part is damaged or the store lost its manifest, MachineError where it cannot be written.
    """
    require_manifest(paths)
    found = {}
    for family in _families(vocabulary, encoder, settings):
        if not _is_listed(load_manifest(paths), family):
            _add(paths, family, encode_labels(family.texts, encoder), producer)
        found[family.name] = read_labels(paths, family.name, family.mark)[1]
        if in_force:
            put_in_force(paths, family.name, family.mark)
    return found


def find_labels(
    paths: StorePaths, vocabulary: Vocabulary, encoder: TextEncoder, settings: EmbedSettings
) -> dict[str, Floats]:
    """The same vectors without a change to the store: encoded anew where it lacks them."""
    manifest = load_manifest(paths)
    return {
        family.name: read_labels(paths, family.name, family.mark)[1]
        if _is_listed(manifest, family)
        else encode_labels(family.texts, encoder)
        for family in _families(vocabulary, encoder, settings)
    }


def label_marks(
    vocabulary: Vocabulary, identity: Mapping[str, Any], settings: EmbedSettings
) -> dict[str, str]:
    """Family -> fingerprint that its part has where that text encoder made it with these settings."""
    return {family.name: family.mark for family in _families_of(vocabulary, identity, settings)}


def _families(vocabulary: Vocabulary, encoder: TextEncoder, settings: EmbedSettings) -> Sequence[_Family]:
    return _families_of(vocabulary, dict(encoder.identity()), settings)


def _families_of(
    vocabulary: Vocabulary, identity: Mapping[str, Any], settings: EmbedSettings
) -> Sequence[_Family]:
    return [
        # As a list: the same labels in another order are other class numbers.
        _Family(name, texts, fingerprint([dict(identity), list(texts.items())]))
        for name, texts in label_texts(vocabulary, settings).items()
    ]


def _is_listed(manifest: Manifest, family: _Family) -> bool:
    return any(part.fingerprint == family.mark for part in manifest.of("labels", family.name))


def _add(paths: StorePaths, family: _Family, vectors: Floats, producer: dict[str, Any]) -> None:
    """Writes and lists a part in one step, so that nobody takes it for a leftover; unless there is one."""
    sentences = [" | ".join(lines) for lines in family.texts.values()]
    with editing(paths) as cell:
        if not _is_listed(cell[0], family):
            part = write_labels(
                paths, family.name, list(family.texts), sentences, vectors, family.mark, producer
            )
            cell[0] = replace(cell[0], parts=(*cell[0].parts, part))

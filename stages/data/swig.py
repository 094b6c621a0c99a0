"""Reads a data set in SWiG's published layout, with or without Ov-SWiG's split files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from cache.errors import UserError
from cache.keys import DIGEST_BYTES, canonical
from stages.data.annotations import SplitContents, read_split
from stages.data.entry import EntryReader
from stages.data.layout import Layout, find_layout
from stages.data.problem import Problem
from stages.data.sample import SPLITS, Sample, Split, Subset
from stages.data.settings import DataSettings
from stages.data.subsets import Subsets, draw_subsets, draws_from_files
from stages.data.vocabulary import Vocabulary
from stages.data.vocabulary_files import read_vocabulary

# dataclasses.astuple copies every leaf: 20 s for the 126,000 samples of SWiG, where this takes one.
_sample_fields = attrgetter(*(field.name for field in fields(Sample)))


@dataclass(frozen=True, slots=True)
class DataSet:
    """All that a data set's annotations say; the pictures themselves are not read.

    samples        usable samples of all splits, in the order of SPLITS and then by image; an image stands
                   in one split only, except where the dev set stands in for a missing test set
    problems       every finding, in the order of the files
    training_errors  those of them that leave an entry out of the training set
    subset_of      subset of every verb of the vocabulary
    split_source   one sentence: who drew the subsets, and how
    notes          sentences a person should read before trusting the figures
    fingerprint    128-bit hex of vocabulary, samples and subsets
    """

    vocabulary: Vocabulary
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    training_errors: tuple[Problem, ...]
    subset_of: Mapping[str, Subset]
    split_source: str
    notes: tuple[str, ...]
    images_folder: Path
    fingerprint: str

    def split(self, split: Split) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.split == split)

    def picture(self, image: str) -> Path:
        return self.images_folder / image

    def annotated_sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height in pixels by image, each picture once, in the order of `samples`."""
        return {sample.image: (sample.width, sample.height) for sample in self.samples}


def read_data_set(settings: DataSettings) -> DataSet:
    """Reads vocabulary, annotations and subsets of the data set at `settings.root`.

    A bad entry becomes a problem, and the rest goes on. Raises UserError where a file is missing or
    broken as a whole, or the files do not say what `settings.split_by` asks for.
    """
    layout = find_layout(settings)
    vocabulary = read_vocabulary(layout.annotations)
    from_files = draws_from_files(settings, layout)
    splits = _read_splits(layout, EntryReader(vocabulary), from_files)
    _separate_splits(splits)
    counts = Counter(sample.verb for sample in splits["train"].samples.values())
    subsets = draw_subsets(settings, layout, vocabulary.verbs, counts, splits)
    notes = [
        *_drop_unseen_training(splits["train"], subsets.subset_of),
        *_stand_in_for_test(splits),
        *_empty_subsets(splits, subsets),
    ]
    samples = tuple(
        samples[image] for samples in (splits[split].samples for split in SPLITS) for image in sorted(samples)
    )
    return DataSet(
        vocabulary=vocabulary,
        samples=samples,
        problems=tuple(problem for split in SPLITS for problem in splits[split].problems),
        training_errors=tuple(p for p in splits["train"].problems if p.severity == "error"),
        subset_of=subsets.subset_of,
        split_source=subsets.source,
        notes=tuple(notes),
        images_folder=layout.images,
        fingerprint=data_fingerprint(vocabulary, samples, subsets.subset_of),
    )


def data_fingerprint(
    vocabulary: Vocabulary, samples: tuple[Sample, ...], subset_of: Mapping[str, Subset]
) -> str:
    """128-bit hex of the ordered contents: everything that a stage can take from the annotations.

    Left out: the folder (a data set may move), the bytes of the pictures (the picture ledger has a digest
    of each, and request keys use it), problems, notes and the sentence on the split (they only describe).
    """
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    state.update(canonical([vocabulary.verbs, vocabulary.roles, vocabulary.nouns]))
    state.update(canonical({verb: asdict(frame) for verb, frame in vocabulary.frames.items()}))
    state.update(canonical(dict(vocabulary.glosses)))
    state.update(canonical(dict(subset_of)))
    for sample in samples:
        state.update(canonical(_sample_fields(sample)))
    return state.hexdigest()


def _read_splits(layout: Layout, reader: EntryReader, from_files: bool) -> dict[Split, SplitContents]:
    """The test set stays empty where there is none. Raises UserError for a missing train or dev set."""
    train = layout.released_train if from_files else layout.annotations / "train.json"
    assert train is not None
    dev = layout.evaluation_files("dev", from_files)
    if not train.exists():
        hint = (
            "; the released Ov-SWiG training file is there: use it with `--set data.split_by=files`"
            if layout.released_train
            else "; copy it there from where SWiG is published"
        )
        raise UserError(f"{train}: missing; the training pictures' annotations are expected there{hint}")
    if not dev:
        raise UserError(
            f"{layout.annotations / 'dev.json'}: missing; the best checkpoint is chosen on the dev set; "
            "copy it there from where SWiG is published"
        )
    read = partial(read_split, reader=reader, name=layout.name)
    return {
        "train": read((train,), "train"),
        "dev": read(dev, "dev"),
        "test": read(layout.evaluation_files("test", from_files), "test"),
    }


def _separate_splits(splits: Mapping[Split, SplitContents]) -> None:
    """Takes a picture that stands in two splits out of the one used earlier, and reports it there."""
    pairs: tuple[tuple[Split, Split, str], ...] = (
        ("dev", "test", "the dev set chooses the checkpoint, so it may not hold a test picture"),
        ("train", "test", "a picture that is tested on may not be trained on"),
        ("train", "dev", "a picture that is evaluated on may not be trained on"),
    )
    for split, other, why in pairs:
        contents, held = splits[split], splits[other]
        for image in sorted(contents.samples.keys() & held.samples.keys()):
            reason = f"stands in {held.origin[image]} too: {why}; left out here"
            contents.problems.append(Problem(contents.origin[image], image, reason, "error"))
            del contents.samples[image], contents.origin[image]


def _drop_unseen_training(train: SplitContents, subset_of: Mapping[str, Subset]) -> list[str]:
    """The leakage guard: no picture of an unseen verb stays in the training set."""
    dropped = [image for image, sample in train.samples.items() if subset_of[sample.verb] == "unseen"]
    verbs = {train.samples[image].verb for image in dropped}
    for image in dropped:
        del train.samples[image], train.origin[image]
    if not dropped:
        return []
    return [f"{len(dropped)} training pictures of {len(verbs)} unseen verbs are left out of the training set"]


def _stand_in_for_test(splits: dict[Split, SplitContents]) -> list[str]:
    if splits["test"].verbs_of:
        return []
    stand_in = {image: replace(sample, split="test") for image, sample in splits["dev"].samples.items()}
    splits["test"] = SplitContents(samples=stand_in)
    return [
        "no test.json: the dev set stands in for the test set, so test figures are of pictures that "
        "also chose the checkpoint"
    ]


def _empty_subsets(splits: Mapping[Split, SplitContents], subsets: Subsets) -> list[str]:
    """What the user should know about verbs without pictures, before an empty figure surprises."""
    notes: list[str] = []
    tested = {sample.verb for sample in splits["test"].samples.values()}
    for subset, verbs in subsets.verbs().items():
        if verbs and not tested & verbs:
            notes.append(f"no {subset} verb has a test picture: figures of the {subset} subset will be empty")
    trained = {sample.verb for sample in splits["train"].samples.values()}
    seen = subsets.verbs()["seen"]
    never = set(seen) - trained
    if never:
        notes.append(f"{len(never)} of the {len(seen)} seen verbs have no training picture in this data set")
    untrained = {verb for verb in tested - trained if subsets.subset_of[verb] != "unseen"}
    if untrained:
        notes.append(
            f"{len(untrained)} verbs have test pictures and no training picture, yet count as seen or rare, "
            f"e.g. {min(untrained)!r}"
        )
    return notes

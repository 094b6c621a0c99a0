"""Chooses who says which verbs are unseen and rare: released files, a list, or the training frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from stages.data.annotations import SplitContents
from stages.data.layout import Layout
from stages.data.sample import SUBSETS, Split, Subset
from stages.data.settings import DataSettings
from stages.data.splits import frequency_subsets, listed_subsets, read_verb_list


@dataclass(frozen=True, slots=True)
class Subsets:
    """The subset of every verb, and one sentence on how they were drawn."""

    subset_of: Mapping[str, Subset]
    source: str

    def verbs(self) -> dict[Subset, set[str]]:
        return {subset: {v for v, own in self.subset_of.items() if own == subset} for subset in SUBSETS}


def draws_from_files(settings: DataSettings, layout: Layout) -> bool:
    """Whether Ov-SWiG's released files say what is trained on and held out.

    Raises UserError where `split_by: files` asks for them and they are not there.
    """
    if settings.split_by == "files" and not layout.is_released:
        raise UserError(
            f"data.split_by is 'files', but {layout.annotations} lacks Ov-SWiG's split files "
            "train_L10_*.json and {dev,test}_L10_unseen_*.json; copy them there, "
            "or set data.split_by to 'frequency'"
        )
    given = settings.unseen_verbs_file is not None
    return settings.split_by == "files" or (settings.split_by == "auto" and layout.is_released and not given)


def draw_subsets(
    settings: DataSettings,
    layout: Layout,
    verbs: Sequence[str],
    train_counts: Mapping[str, int],
    splits: Mapping[Split, SplitContents],
) -> Subsets:
    """Subsets as `settings.split_by` asks; `auto` takes the first source that is there.

    train_counts   usable training pictures by verb; a verb without any may be absent
    """
    if settings.split_by == "none":
        return Subsets(dict.fromkeys(verbs, "seen"), f"not split: all {len(verbs)} verbs count as seen")
    if draws_from_files(settings, layout):
        return _from_files(layout, verbs, splits)
    listed = _list_file(settings, layout)
    if listed is not None:
        return _from_list(listed, verbs)
    return _from_frequency(settings, {verb: train_counts.get(verb, 0) for verb in verbs})


def _list_file(settings: DataSettings, layout: Layout) -> Path | None:
    if settings.split_by == "frequency":
        return None
    if settings.unseen_verbs_file is not None:
        return settings.unseen_verbs_file
    if layout.split_list.is_file():
        return layout.split_list
    if settings.split_by == "list":
        raise UserError(
            f"data.split_by is 'list', but data.unseen_verbs_file is not given and {layout.split_list} is "
            'not there; give a YAML or JSON file {"unseen": [verbs], "rare": [verbs]}'
        )
    return None


def _from_files(layout: Layout, verbs: Sequence[str], splits: Mapping[Split, SplitContents]) -> Subsets:
    verbs_of = splits["dev"].verbs_of | splits["test"].verbs_of
    unseen = set().union(*(verbs_of[path] for path in layout.released_unseen))
    rare = set().union(*(verbs_of[path] for path in layout.released_rare))
    source = f"Ov-SWiG's released files in {layout.name(layout.annotations)}"
    subset_of = listed_subsets(verbs, sorted(unseen), sorted(rare), source)
    return Subsets(subset_of, f"{source}: {len(unseen)} unseen and {len(rare)} rare verbs")


def _from_list(path: Path, verbs: Sequence[str]) -> Subsets:
    listed = read_verb_list(path)
    subset_of = listed_subsets(verbs, listed.unseen, listed.rare, str(path))
    counts = f"{len(set(listed.unseen))} unseen and {len(set(listed.rare))} rare verbs"
    return Subsets(subset_of, f"the verb list {path}: {counts}")


def _from_frequency(settings: DataSettings, counts: Mapping[str, int]) -> Subsets:
    subsets = Subsets(frequency_subsets(counts, settings.unseen_share, settings.rare_share), "")
    verbs = subsets.verbs()
    source = (
        f"drawn by training frequency: of {len(counts)} verbs the {len(verbs['unseen'])} with the fewest "
        f"training pictures{_span(counts, verbs['unseen'])} are unseen, the next {len(verbs['rare'])}"
        f"{_span(counts, verbs['rare'])} rare, ties by name"
    )
    return Subsets(subsets.subset_of, source)


def _span(counts: Mapping[str, int], verbs: set[str]) -> str:
    if not verbs:
        return ""
    found = [counts[verb] for verb in verbs]
    return f" ({min(found)} to {max(found)})"

"""The guard against held-out verbs: what training and selection may not see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cache.errors import UserError
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from cache.verify import LeakRule
from stages.data.sample import Sample, Subset


def refuse_leaks(
    paths: StorePaths,
    train: Sequence[Sample],
    select: Sequence[Sample],
    subset_of: Mapping[str, Subset],
    leak: LeakRule,
) -> dict[str, object]:
    """Proof that no unseen verb enters training, selection or rationale text, for the checkpoint to carry.

    train    the training samples
    select   the samples the best checkpoint is chosen on
    leak     finds a held-out verb in a rationale's text

    Raises UserError that names the first leak.
    """
    held_out = sorted(verb for verb, subset in subset_of.items() if subset == "unseen")
    _refuse_samples(train, subset_of, "training")
    _refuse_samples(select, subset_of, "selection")
    recorded = sorted(load_manifest(paths).held_out_verbs)
    if recorded != held_out:
        odd = sorted(set(recorded) ^ set(held_out))
        raise UserError(
            f"the store at {paths.root} was written with other held-out verbs ({len(odd)} differ, e.g. "
            f"{odd[0]!r}), so its rationales may name verbs held out now; write them again with "
            "`mipd-pipe generate-rationales`"
        )
    images = {sample.image for sample in train}
    return {
        "held_out_verbs": held_out,
        "training_pictures": len(train),
        "selection_pictures": len(select),
        "rationales_checked": _refuse_rationales(paths, images, held_out, leak),
    }


def _refuse_samples(samples: Sequence[Sample], subset_of: Mapping[str, Subset], use: str) -> None:
    for sample in samples:
        if subset_of[sample.verb] == "unseen":
            raise UserError(
                f"picture {sample.image!r} of the held-out verb {sample.verb!r} would enter {use}; its test "
                "figure would mean nothing: take it out of the split, or the verb out of the held-out list"
            )


def _refuse_rationales(
    paths: StorePaths, images: Collection[str], held_out: Collection[str], leak: LeakRule
) -> int:
    """Rationales describe their own verb and a contrast verb; neither may be held out, nor named in passing.

    Rows of pictures that are not trained on do not count: they stay in the store when a split changes.
    """
    columns = ["image", "verb", "contrast_verb", "contrast_nouns", "text"]
    rows = read_rationales(paths, columns).filter("usable")
    rows = rows.filter(rows["image"].is_in(list(images)))
    for row in rows.iter_rows(named=True) if held_out else ():
        about = next((verb for verb in (row["verb"], row["contrast_verb"]) if verb in held_out), None)
        if named := about or leak(row):
            raise UserError(
                f"a rationale of picture {row['image']!r} names the held-out verb {named!r}; write the "
                "rationales again with `mipd-pipe generate-rationales`, then embed them with "
                "`mipd-pipe embed-teacher`"
            )
    return rows.height

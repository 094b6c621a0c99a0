"""The guard against held-out verbs: what training and selection may not see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cache.errors import UserError
from cache.manifest import load_manifest
from cache.paths import StorePaths
from cache.rationales import read_rationales
from stages.data.sample import Sample, Subset


def refuse_leaks(
    paths: StorePaths, train: Sequence[Sample], select: Sequence[Sample], subset_of: Mapping[str, Subset]
) -> dict[str, object]:
    """Proof that no unseen verb enters training, selection or rationale text, for the checkpoint to carry.

    train    the training samples
    select   the samples the best checkpoint is chosen on

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
    contrasts = _refuse_contrasts(paths, held_out)
    return {
        "held_out_verbs": held_out,
        "training_pictures": len(train),
        "selection_pictures": len(select),
        "rationales_checked": contrasts,
    }


def _refuse_samples(samples: Sequence[Sample], subset_of: Mapping[str, Subset], use: str) -> None:
    for sample in samples:
        if subset_of[sample.verb] == "unseen":
            raise UserError(
                f"picture {sample.image!r} of the held-out verb {sample.verb!r} would enter {use}; its test "
                "figure would mean nothing: take it out of the split, or the verb out of the held-out list"
            )


def _refuse_contrasts(paths: StorePaths, held_out: Collection[str]) -> int:
    """Rationales describe their own verb and a contrast verb; neither may be held out."""
    rows = read_rationales(paths, ["image", "verb", "contrast_verb"]).filter("usable")
    for image, verb, contrast in rows.select("image", "verb", "contrast_verb").iter_rows():
        if verb in held_out or contrast in held_out:
            named = verb if verb in held_out else contrast
            raise UserError(
                f"a rationale of picture {image!r} describes the held-out verb {named!r}; "
                "write the rationales again with `mipd-pipe generate-rationales`"
            )
    return rows.height

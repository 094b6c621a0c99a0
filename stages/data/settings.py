"""What the reader of a data set obeys."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.settings import PathSetting, Settings

SplitBy = Literal["auto", "files", "list", "frequency", "none"]

# Pillow itself refuses to open a picture above twice its MAX_IMAGE_PIXELS, so a larger bound would not hold.
PILLOW_MAX_PIXELS = 178_956_970


class DataSettings(Settings):
    """Where the data set lies and how its verbs are split into seen, rare and unseen."""

    root: PathSetting
    """Folder of the data set in SWiG's layout: pictures in `images_512/`, `images/` or the folder itself,
    annotations in `SWiG_jsons/` or the folder itself."""

    images_folder: PathSetting | None = None
    """Folder of the pictures where it is not one of those under `root`; empty = looked for under `root`."""

    annotations_folder: PathSetting | None = None
    """Folder of the annotation files where it is not one of those under `root`; empty = looked for
    under `root`."""

    split_by: SplitBy = "auto"
    """Who says which verbs are unseen and rare: `files` the released Ov-SWiG split files, `list` the verb
    list, `frequency` the number of training pictures, `none` nobody (all verbs are seen); `auto` takes
    `unseen_verbs_file` where it is given, else the split files, else a `splits.json` beside the annotations,
    else the frequency."""

    unseen_verbs_file: PathSetting | None = None
    """YAML or JSON file `{"unseen": [verbs], "rare": [verbs]}`; empty = `splits.json` beside the annotations;
    only with `split_by` `auto` or `list`."""

    unseen_share: float = Field(default=0.10, ge=0, lt=1)
    """Share of all verbs, rounded down to whole verbs, that `split_by: frequency` makes unseen: those with
    the fewest training pictures, ties by name."""

    rare_share: float = Field(default=0.10, ge=0, lt=1)
    """Share of all verbs, rounded down to whole verbs, that `split_by: frequency` makes rare: the next
    fewest."""

    max_image_pixels: int = Field(default=50_000_000, ge=1, le=PILLOW_MAX_PIXELS)
    """Largest picture, in pixels, that is decoded; a larger one is reported and left out, because a small
    file can unfold to more than the memory holds."""

    demo_images: int = Field(default=0, ge=0)
    """Number of pictures of the drawn data set that is made at `root` where nothing is there yet; 0 = `root`
    must exist."""

    demo_seed: int = Field(default=0, ge=0)
    """Seed of that drawn data set: same seed and number, same bytes."""

    @model_validator(mode="after")
    def _shares_leave_seen_verbs(self) -> Self:
        if self.unseen_share + self.rare_share >= 1:
            raise ValueError(
                f"unseen_share {self.unseen_share} + rare_share {self.rare_share} leave no verb seen; "
                "their sum must be below 1"
            )
        return self

    @model_validator(mode="after")
    def _list_is_obeyed(self) -> Self:
        if self.unseen_verbs_file is not None and self.split_by not in ("auto", "list"):
            raise ValueError(
                f"unseen_verbs_file is given, but split_by {self.split_by!r} would ignore it; "
                "set split_by to 'list', or leave unseen_verbs_file out"
            )
        return self

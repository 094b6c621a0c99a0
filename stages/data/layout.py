"""Finds the pictures and annotation files of a data set in SWiG's published layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from stages.data.settings import DataSettings

SPACE = "imsitu_space.json"
VERBS = "verb_indices.txt"
ROLES = "role_indices.txt"
CLASSES = "train_classes.csv"
SPLIT_LIST = "splits.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one data set.

    released_train    Ov-SWiG's training file (``train_L10_*``), without the unseen verbs
    released_unseen   ``{dev,test}_L*_unseen*``: their verbs are the unseen ones
    released_rare     ``{dev,test}_L*_rare*``: their verbs are the rare ones
    """

    root: Path
    images: Path
    annotations: Path
    released_train: Path | None
    released_unseen: tuple[Path, ...]
    released_rare: tuple[Path, ...]

    @property
    def split_list(self) -> Path:
        return self.annotations / SPLIT_LIST

    @property
    def is_released(self) -> bool:
        return self.released_train is not None and bool(self.released_unseen)

    def evaluation_files(self, split: str, with_released: bool) -> tuple[Path, ...]:
        """The files whose union is the dev or test set; empty where there are none.

        Ov-SWiG tests on ``dev.json`` for all verbs and on the split files for the rare and unseen ones;
        pictures may stand in both.
        """
        plain = self.annotations / f"{split}.json"
        released = self.released_rare + self.released_unseen if with_released else ()
        named = [path for path in released if path.name.startswith(f"{split}_")]
        return ((plain,) if plain.exists() else ()) + tuple(named)

    def name(self, path: Path) -> str:
        """A path as messages and problems show it."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


def find_layout(settings: DataSettings) -> Layout:
    """Raises UserError where the root, the pictures or the vocabulary files are not there."""
    root = settings.root
    if not root.is_dir():
        raise UserError(
            f"data.root: {root} is not a folder; give the folder of a data set in SWiG's layout with "
            "`--set data.root=DIR`, or make a small one with `mipd-pipe demo-data DIR`"
        )
    annotations = _annotations_folder(settings)
    return Layout(
        root=root,
        images=_images_folder(settings, annotations),
        annotations=annotations,
        released_train=_released_train(annotations),
        released_unseen=_released(annotations, "unseen"),
        released_rare=_released(annotations, "rare"),
    )


def _annotations_folder(settings: DataSettings) -> Path:
    given = settings.annotations_folder
    looked = (given,) if given is not None else (settings.root / "SWiG_jsons", settings.root)
    for folder in looked:
        if (folder / SPACE).is_file():
            break
    else:
        raise UserError(
            f"no {SPACE} in {_listed(looked)}; the annotations are the published SWiG_jsons folder with "
            f"{SPACE}, {VERBS}, {ROLES}, {CLASSES}, train.json, dev.json and test.json; "
            "set data.root, or data.annotations_folder where they lie elsewhere"
        )
    missing = [name for name in (VERBS, ROLES, CLASSES) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder}: lacks {', '.join(missing)}, which the published SWiG_jsons folder has beside "
            f"{SPACE}; copy it there"
        )
    return folder


def _images_folder(settings: DataSettings, annotations: Path) -> Path:
    if settings.images_folder is not None:
        if not settings.images_folder.is_dir():
            raise UserError(f"data.images_folder: {settings.images_folder} is not a folder")
        return settings.images_folder
    root = settings.root
    candidates = [root / "images_512", root / "images"]
    if annotations == root:  # the root may be the SWiG_jsons folder itself, with images_512 beside it
        candidates.append(root.resolve().parent / "images_512")
    return next((folder for folder in candidates if folder.is_dir()), root)


def _released_train(annotations: Path) -> Path | None:
    # The published name ends in _with_obj_cap_refined.json; only its beginning is relied on.
    found = sorted(annotations.glob("train_L10*.json"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(
            f"{annotations}: {len(found)} released training files ({names}); "
            "one is needed; move the others away"
        )
    return found[0] if found else None


def _released(annotations: Path, subset: str) -> tuple[Path, ...]:
    return tuple(
        path for split in ("dev", "test") for path in sorted(annotations.glob(f"{split}_L*_{subset}*.json"))
    )


def _listed(folders: Sequence[Path]) -> str:
    return " or ".join(str(folder) for folder in folders)

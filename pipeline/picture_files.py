"""Which picture files a person means who names files, folders and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError

# Of the formats that `stages.data.pictures` opens. Only a file that is named itself may have another.
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"))


@dataclass(frozen=True, slots=True)
class PictureFile:
    """path: as it is opened and told; name: below the folder that was given, for its drawing."""

    path: Path
    name: Path


def find_pictures(arguments: Sequence[str]) -> list[PictureFile]:
    """Files as given; of a folder all pictures in and below it; of a pattern (``*``, ``**``, ``?``, ``[ab]``)
    all it matches. In the order given, folders and patterns sorted, each file once.

    Raises UserError where one of them means no picture: a typo must not pass for an empty result.
    """
    found: dict[Path, PictureFile] = {}
    for argument in arguments:
        pictures = list(_meant(argument))
        if not pictures:
            raise UserError(_nothing(argument))
        for picture in pictures:
            found.setdefault(picture.path.absolute(), picture)
    return list(found.values())


def _meant(argument: str) -> Iterator[PictureFile]:
    path = Path(argument)
    if path.is_dir():
        yield from _below(path)
    elif path.exists():
        yield PictureFile(path, Path(path.name))
    elif glob.has_magic(argument):
        # Not pathlib's: that needs a folder to begin from, and skips what a shell would not.
        for match in sorted(map(Path, glob.glob(argument, recursive=True))):  # noqa: PTH207
            if match.is_file() and match.suffix.lower() in SUFFIXES:
                yield PictureFile(match, Path(match.name))


def _below(folder: Path) -> Iterator[PictureFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield PictureFile(path, name)


def _nothing(argument: str) -> str:
    path = Path(argument)
    if path.is_dir():
        return f"the folder {argument} holds no picture ({', '.join(sorted(SUFFIXES))}); give another folder"
    if glob.has_magic(argument):
        return f"no picture matches {argument!r}; in quotes, `**/` goes through folders: 'photos/**/*.jpg'"
    return f"no picture {argument}: there is no such file or folder; check the path"

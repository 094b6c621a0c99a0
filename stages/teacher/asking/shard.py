"""One worker's part of the training pictures, where several fill one store side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cache.errors import UserError
from cache.lock import shard_lock, writer_lock
from cache.paths import StorePaths


@dataclass(frozen=True, slots=True)
class Shard:
    """One worker's part of the pictures: `number` of `count`, from 0."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``3/8``: the fourth of eight. Raises UserError."""
        number, slash, count = text.partition("/")
        if not slash or not number.isdecimal() or not count.isdecimal():
            raise UserError(f"--shard {text!r} is not of the form i/n with whole numbers, e.g. 0/8 to 7/8")
        if not int(count):
            raise UserError(
                f"--shard {text!r}: 0 shards have no first; the number after the slash is at least 1"
            )
        if not int(number) < int(count):
            raise UserError(
                f"--shard {text!r}: shards of {count} are numbered from 0 to {int(count) - 1}; "
                "a job array that counts from 1 gives $((TASK - 1))"
            )
        return cls(int(number), int(count))

    @property
    def tag(self) -> str:
        """Marks the worker's files; empty where one worker does everything."""
        return f"{self.number}of{self.count}" if self.count > 1 else ""

    def lock(self, paths: StorePaths, command: str, terms: Mapping[str, str]) -> AbstractContextManager[None]:
        """Keeps everybody else out; one of several shards, everybody but the others of the same count.

        terms   what decides rows, by name: a shard with others than a living one is refused (UserError)
        """
        if self.count == 1:
            return writer_lock(paths.root, command)
        return shard_lock(paths.root, command, self.number, self.count, terms)

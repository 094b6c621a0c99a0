"""Where everything lies in a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError


@dataclass(frozen=True, slots=True)
class StorePaths:
    """The folders and files of one store."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def manifest_copy(self) -> Path:
        """The same list once more, for `inspect repair`: no part says by itself what counts."""
        return self.root / "manifest.json.copy"

    @property
    def removed(self) -> Path:
        """Damaged files that `inspect repair` took out of the store, until the next `inspect compact`."""
        return self.root / "removed"

    @property
    def rationales(self) -> Path:
        return self.root / "rationales"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def vectors(self) -> Path:
        return self.root / "vectors"

    @property
    def index(self) -> Path:
        return self.root / "index"

    def bank(self, name: str) -> Path:
        return self.root / "banks" / name

    def require(self) -> StorePaths:
        """Raises UserError where there is no store yet."""
        if not self.manifest.exists():
            raise UserError(
                f"no store at {self.root} (no manifest.json); "
                "make one with `mipd-pipe generate-rationales`, or give the right run_dir"
            )
        return self

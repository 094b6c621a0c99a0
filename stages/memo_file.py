"""A Parquet file in the run folder that remembers costly findings, for several processes at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache.atomic import replacing
from cache.lock import short_lock


class MemoFile:
    """What is in it can be found anew, so a file that cannot be read is made again.

    schema   its columns, and in its metadata a version: raise it when a row comes to mean something else
    name     what the file is, for messages
    loss     what a lost file costs, for messages
    """

    def __init__(self, path: Path, schema: pa.Schema, name: str, loss: str) -> None:
        self.path, self._schema, self._name, self._loss = path, schema, name, loss

    def load(self) -> tuple[pa.Table | None, str | None]:
        """The rows, or None and, where the file is there but damaged or of another version, the reason."""
        if not self.path.exists():
            return None, None
        try:
            table = pq.read_table(self.path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as reason:
            return None, f"{self.path}: not a readable {self._name} ({reason}); {self._loss}"
        if not table.schema.equals(self._schema, check_metadata=True):
            return None, f"{self.path}: a {self._name} of another version; {self._loss}"
        return table, None

    def save(self, merge: Callable[[pa.Table | None], pa.Table]) -> None:
        """Writes what `merge` makes of the rows now in the file (None: it has none), all at once.

        Other processes wait, so what one of them saved meanwhile is never lost. Raises MachineError for a
        full disk, or one that knows no locks.
        """
        with short_lock(self.path.with_name(f"{self.path.name}.lock")):
            table = merge(self.load()[0])
            with replacing(self.path) as temporary:
                pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

"""What every command works on: the configuration, the data set, the store and the reporter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from cache.atomic import write_bytes
from cache.errors import FindingsError, UserError
from cache.paths import StorePaths
from pipeline.config import Config, dump_config
from pipeline.console import Console
from pipeline.provenance import provenance
from stages.data.ledger import PictureLedger
from stages.data.swig import DataSet, read_data_set


class Workspace:
    """Opens things when a command first asks for them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = StorePaths(config.store)
        self.console = Console(config.run_dir / "events.jsonl")

    @cached_property
    def data(self) -> DataSet:
        """The data set; drawn first where the config asks for the demo and its folder is not there yet."""
        settings = self.config.data
        if settings.demo_images and not settings.root.exists():
            from stages.data.scenes import draw_data_set

            self.console.say(f"drawing {settings.demo_images} demo pictures into {settings.root}")
            draw_data_set(settings.root, settings.demo_images, settings.demo_seed)
        data = read_data_set(settings)
        self.console.say(data.split_source)
        for note in data.notes:
            self.console.say(f"note: {note}")
        return data

    def data_if_there(self) -> DataSet | None:
        """The data set; None, after a note that says why, where it is not at hand. Draws nothing."""
        root = self.config.data.root
        try:
            if not root.exists():
                raise UserError(f"data.root {root} does not exist")
            return self.data
        except UserError as reason:
            self.console.say(
                f"note: the data set cannot be read, so only what the store itself holds is told: {reason}"
            )
            return None

    @cached_property
    def ledger(self) -> PictureLedger:
        """The ledger, after it has checked every picture of the data set."""
        return self.check_pictures(self.data.annotated_sizes())

    def check_pictures(self, images: Iterable[str]) -> PictureLedger:
        """The ledger, after it has checked these pictures of the data set; of others it knows no problem."""
        annotated, ledger = self.data.annotated_sizes(), self._ledger
        sizes = {image: annotated[image] for image in images}
        with self.console.progress("check pictures", len(sizes)) as advance:
            ledger.check(self.data.images_folder, sizes, advance)
        return ledger

    def picture_digests(self, images: Iterable[str]) -> dict[str, str]:
        """Image -> digest of its bytes as they are now, as far as earlier commands here have read them."""
        return self._ledger.digests_now(self.data.images_folder, images)

    @cached_property
    def _ledger(self) -> PictureLedger:
        """As the last call left it."""
        ledger = PictureLedger(self.config.run_dir / "pictures.parquet", self.config.data.max_image_pixels)
        if ledger.rebuilt:
            self.console.say(f"note: {ledger.rebuilt}")
        return ledger

    @cached_property
    def producer(self) -> dict[str, Any]:
        """Who writes: recorded with every part."""
        return provenance()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Records when the stage began and how it ended, and the configuration of a stage that was done.

        It ends "done", "findings" where it came to its end and too much was at fault, else "stopped". A
        stage that is refused leaves the configuration of the run as it was.
        """
        self.console.event("stage-started", stage=name)
        start, end = time.monotonic(), "stopped"
        try:
            yield
            end = "done"
            write_bytes(self.config.run_dir / "config.yaml", dump_config(self.config).encode())
        except FindingsError:
            end = "findings"
            raise
        finally:
            self.console.event("stage-ended", stage=name, end=end, seconds=round(time.monotonic() - start, 3))

"""`mipd-pipe bench store`: banks of SWiG's shapes on this disk, beside one file per picture and the limits.

Every ratio is the median over passes in which the compared things take turns, because a machine's speed
wanders more between two passes than they differ.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from cache.errors import MachineError, UserError
from cache.fidelity import bank_fidelity
from cache.manifest import load_manifest
from cache.order import permutation
from cache.verify import verify
from pipeline.bench.child import run_command
from pipeline.bench.layouts import SHAPES, VALUES, FilePerPicture, Layout, Store, Tokens
from pipeline.bench.many_pictures import make_data_set
from pipeline.bench.page_cache import resident_share
from pipeline.bench.promises import judge
from pipeline.bench.reader_memory import reader_peak_mib
from pipeline.bench.store_figures import TARGETS, files_at_swig_size, text
from pipeline.bench.store_rates import (
    ColdPasses,
    Rates,
    byte_rate,
    checksum_rate,
    copy_rate,
    picture_rate,
    ratio,
    read_in_order,
)
from pipeline.console import Console
from pipeline.result import Result
from pipeline.table import size
from stages.batches import batches

BATCH = 32
REPEATS = 5
_WARM_BATCHES = 8  # of one pass
_SCALE_PASSES = 40  # of the stores of all pictures and of a tenth of them, which are soon read
_EMBED_SHARD = 64  # rows; small, so that both of the runs whose memory is compared fill several
_ROWS_PER_SHARD = 128
# fp32, bf16, int8, and a tenth of bf16 again; LMDB's pages and the files of the embedding runs on top.
_BYTES_PER_VALUE, _MORE = 4 + 2 + 1 + 0.2, 1.05
_SPARE = 200 << 20
_DIGESTED = 64 << 20  # bytes of which a checksum is timed


def bench_store(pictures: int, few: int, many: int, folder: Path, console: Console) -> Result:
    """Figures of the store in `folder`, on the disk that it lies on; everything written is removed again.

    pictures   of the compared layouts, made-up tokens of SWiG's shapes: 8.4 MB each in all of them together
    few, many  drawn pictures of the two `embed-teacher` runs whose memory is compared

    Raises UserError for sizes that make no sense and where the disk has not room for it.
    """
    if pictures < 10 or not 1 <= few < many:
        raise UserError(f"--pictures {pictures} from 10, --few {few}, --many {many}: from 1, few below many")
    _require_room(folder, pictures)
    with tempfile.TemporaryDirectory(prefix="mipd-bench-", dir=folder) as inside:
        root = Path(inside)
        console.say(f"memory of embed-teacher, {few} and {many} pictures")
        embed = [_embed_peak(root / f"embed-{count}", count) for count in (few, many)]
        bench = _Bench.write(root, pictures, console)
        data = bench.measure(console)
    figures = data.pop("figures") | {"embed_memory_many_vs_few": embed[1] / embed[0]}
    data = {
        **figures,
        "targets": judge(figures, TARGETS),
        **data,
        "embed_peak_mib": embed,
        "embed_pictures": [few, many],
    }
    return Result(text(data), data)


def _require_room(folder: Path, pictures: int) -> None:
    if not folder.is_dir():
        raise UserError(f"--folder {folder} is not a folder; give one on the disk to be measured")
    needed = round(pictures * VALUES * _BYTES_PER_VALUE * _MORE) + _SPARE
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"--pictures {pictures} needs {size(needed)} in {folder}, which has {size(free)} free: give "
            "fewer pictures, or --folder on another disk"
        )


def _embed_peak(folder: Path, pictures: int) -> float:
    make_data_set(folder / "data", pictures)
    settings = {
        "run_dir": folder / "run",
        "data.root": folder / "data",
        "data.demo_images": 0,
        "embed.rows_per_shard": _EMBED_SHARD,
    }
    for command in ("generate-rationales", "embed-teacher"):
        ended = run_command([command, "--config", "demo"], settings, folder / "log.txt")
    shutil.rmtree(folder)
    return ended.peak_mib


@dataclass(slots=True)
class _Bench:
    """The layouts on disk. `bf16` and `small` are stores of all pictures and of a tenth of them."""

    pictures: int
    pt: FilePerPicture
    bf16: Store
    int8: Store
    small: Store

    @staticmethod
    def write(root: Path, pictures: int, console: Console) -> _Bench:
        bench = _Bench(
            pictures,
            FilePerPicture(root / "pt"),
            Store(root / "bf16", "bf16", _ROWS_PER_SHARD),
            Store(root / "int8", "int8", _ROWS_PER_SHARD),
            Store(root / "small", "bf16", _ROWS_PER_SHARD),
        )
        tokens = Tokens()
        every = range(pictures)
        with console.progress("written", pictures) as advance:
            for some in batches(every, _ROWS_PER_SHARD):
                for layout in bench.compared:
                    layout.write(tokens, some)
                advance(len(some))
        bench.small.write(tokens, every[: pictures // 10])
        return bench

    @property
    def compared(self) -> list[Layout]:
        return [self.pt, self.bf16, self.int8]

    def measure(self, console: Console) -> dict[str, Any]:
        warm = self._warm(console)
        scale = self._scale()
        resident = min(resident_share(layout.files()) for layout in self.compared)
        cold = self._cold(console)
        readers = [
            reader_peak_mib(self.small, self._batches(self.pictures // 10, 10)),
            reader_peak_mib(self.bf16, self._batches(self.pictures, max(10, self.pictures // BATCH))),
        ]
        sizes = {
            layout.name: sum(path.stat().st_size for path in layout.files()) / self.pictures
            for layout in self.compared
        }
        fidelity = [bank_fidelity(load_manifest(self.int8.paths), bank) for bank in SHAPES]
        figures = {
            "warm_vs_pt": ratio(warm["bf16"], warm["pt"]),
            **cold.figures,
            "int8_size_vs_pt": sizes["int8"] / sizes["pt"],
            "int8_mean_cosine": min(found.mean_cosine for found in fidelity if found),
            "rate_10x_vs_1x": ratio(scale["bf16"], scale["tenth"]),
            "files_at_swig_size": files_at_swig_size(),
            "reader_memory_many_vs_few": readers[1] / readers[0],
        }
        names = [layout.name for layout in self.compared]
        return {
            "figures": figures,
            "pictures": self.pictures,
            "batch": BATCH,
            "repeats": REPEATS,
            "bytes_per_picture": sizes,
            "write_pictures_per_s": {one.name: self.pictures / one.seconds for one in self.compared},
            "warm_pictures_per_s": {name: median(warm[name]) for name in names},
            "cold_pictures_per_s": {name: median(cold.rates[name]) for name in names},
            "copy_bytes_per_s": median(warm["copy"]),
            "checksum_bytes_per_s": median(warm["checksum"]),
            "warm_int8_vs_pt": ratio(warm["int8"], warm["pt"]),
            "warm_vs_copy": median(warm["bf16"]) * VALUES * 2 / median(warm["copy"]),
            "disk_bytes_per_s": median(cold.rates["disk"]),
            "verify_bytes_per_s": median(cold.rates["verify"]),
            "reader_peak_mib": readers,
            "int8_worst_cosine": min(found.worst_cosine for found in fidelity if found),
            "warm_resident": resident,
            "cold_resident": cold.resident,
            "cold_from_disk": cold.from_disk,
            "notes": [*_warm_notes(resident), *cold.notes()],
        }

    def _batches(self, pictures: int, count: int, seed: int = 0) -> list[list[int]]:
        """So many batches of random pictures, epoch after epoch."""
        order: list[int] = []
        for epoch in range(-(-count * BATCH // pictures)):
            order += permutation(pictures, seed, epoch).tolist()
        return [order[start : start + BATCH] for start in range(0, count * BATCH, BATCH)]

    def _warm(self, console: Console) -> Rates:
        """Pictures per second from memory; "copy" and "checksum" in bytes per second."""
        rates: Rates = {}
        for layout in self.compared:
            read_in_order(layout.files())
        with console.progress("warm", REPEATS + 1, unit="round") as advance:
            for repeat in range(-1, REPEATS):  # the first one, -1, warms up and does not count
                wanted = self._batches(self.pictures, _WARM_BATCHES, seed=repeat + 1)
                for layout in self.compared:
                    if repeat < 0:
                        layout.read(wanted[0])  # opens its readers
                    rate = picture_rate(layout, wanted)
                    rates.setdefault(layout.name, []).extend([rate] if repeat >= 0 else [])
                limits = {"copy": copy_rate(BATCH * VALUES * 2), "checksum": checksum_rate(_DIGESTED)}
                for name, rate in limits.items():
                    rates.setdefault(name, []).extend([rate] if repeat >= 0 else [])
                advance(1)
        return rates

    def _scale(self) -> Rates:
        """Pictures per second of the store of all pictures and of that of a tenth, from memory."""
        rates: Rates = {"bf16": [], "tenth": []}
        read_in_order(self.small.files())
        stores = [("bf16", self.bf16, self.pictures), ("tenth", self.small, self.pictures // 10)]
        for repeat in range(-1, _SCALE_PASSES):
            for name, store, pictures in stores if repeat % 2 else stores[::-1]:
                wanted = self._batches(pictures, _WARM_BATCHES, seed=repeat + 1)
                if repeat < 0:
                    store.read(wanted[0])
                rate = picture_rate(store, wanted)
                rates[name] += [rate] if repeat >= 0 else []
        return rates

    def _cold(self, console: Console) -> ColdPasses:
        cold = ColdPasses()
        epoch = [
            list(rows) for rows in batches(permutation(self.pictures, 1, 0).tolist(), BATCH)
        ]  # every picture once, so that the same bytes are read in order
        files = self.bf16.files()
        stored = sum(path.stat().st_size for path in files)
        with console.progress("cold", REPEATS, unit="round") as advance:
            for _ in range(REPEATS):
                for layout in self.compared:
                    cold.run(layout.name, layout, partial(picture_rate, layout, epoch))
                cold.run("disk", self.bf16, partial(byte_rate, stored, partial(read_in_order, files)))
                cold.run("verify", self.bf16, partial(byte_rate, stored, self._verify))
                advance(1)
        start = time.perf_counter()
        self._verify(fast=True)
        cold.fast_seconds = time.perf_counter() - start
        cold.picture_bytes = stored / self.pictures
        return cold

    def _verify(self, fast: bool = False) -> None:
        if faults := verify(self.bf16.paths, fast):
            raise MachineError(f"the store just written is damaged: {faults[0]}; check the disk")


def _warm_notes(resident: float) -> list[str]:
    if resident > 0.99:
        return []
    return [
        f"note: only {resident:.0%} of the files fit into memory, so warm is partly cold: fewer --pictures"
    ]

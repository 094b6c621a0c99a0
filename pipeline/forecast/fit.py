"""What will not fit into this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.forecast.memory import Need
from pipeline.forecast.spread import Spread
from pipeline.table import size


@dataclass(frozen=True, slots=True)
class Shortage:
    """Something that is too small. `sure` = even the least that is needed is not there."""

    what: str
    sure: bool
    mend: str


def disk_shortage(needed: Spread, free: int, folder: Path) -> Iterator[Shortage]:
    if needed.high <= free:
        return
    span = f"{size(int(needed.low))} to {size(int(needed.high))}"
    yield Shortage(
        f"the store needs {span} more, and {size(free)} are free where {folder} lies",
        needed.low > free,
        "make room, --set run_dir=DIR on a larger disk, or store banks in half the bytes: "
        "--set embed.storage=int8",
    )


def memory_shortages(needs: Iterable[Need]) -> Iterator[Shortage]:
    for need in needs:
        if need.bytes is None or need.have is None:
            continue
        sure = need.bytes.low > need.have
        if sure or (need.bytes.high > need.have and not need.elastic):
            bytes_ = int(need.bytes.low if sure else need.bytes.high)
            least = "at least" if sure else "up to"
            found = (
                f"{need.what} needs {least} {size(bytes_)} of {need.where}, and {size(need.have)} can be had"
            )
            yield Shortage(found, sure, need.mend)

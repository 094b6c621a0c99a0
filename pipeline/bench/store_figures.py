"""What `bench store` promises, and how its figures are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.bench.promises import Target, number, promise_table
from pipeline.table import render, size
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.settings import TeacherSettings

# SWiG's pictures: all, and those of the training split.
SWIG_PICTURES, SWIG_TRAIN = 126_102, 75_702

_BATCH = "batches of 32 random pictures, each bank as one CPU tensor, read ahead in the same way"
TARGETS: Mapping[str, Target] = {
    "warm_vs_pt": Target(">=", 6, f"bf16 store to bf16 tensors against .pt to fp32 tensors, warm; {_BATCH}"),
    "cold_bf16_vs_pt": Target(">=", 2, "the same, cold"),
    "cold_int8_vs_pt": Target(">=", 4, "the same, cold, int8 store to fp32 tensors"),
    "cold_vs_disk": Target(">=", 0.7, "bytes/s of the cold bf16 epoch against one stream through its files"),
    "int8_size_vs_pt": Target("<=", 0.26, "bytes of the files per picture"),
    "int8_mean_cosine": Target(">=", 0.999, "to fp32, of these made-up tokens; yours: `inspect summary`"),
    "rate_10x_vs_1x": Target(">=", 0.95, "warm bf16 rate with all pictures against a tenth of them"),
    "files_at_swig_size": Target("<", 2000, f"a whole store of {SWIG_PICTURES} pictures, as configured"),
    "verify_vs_disk": Target(">=", 0.9, "bytes/s of `verify`, cold, against one stream through the files"),
    "verify_fast_seconds": Target("<", 10, "`verify --fast` of the bf16 store"),
    "embed_memory_many_vs_few": Target("<=", 1.25, "peak of `embed-teacher`, ten times as many pictures"),
    "reader_memory_many_vs_few": Target("<=", 1.25, "peak of a reader, ten times as many pictures"),
}


def files_at_swig_size() -> int:
    """Files of a store with every picture of SWiG, under the default settings.

    An engine that needs more than a minute for `pictures_per_part` pictures writes more parts of rationales;
    `inspect compact` merges them.
    """
    shard, part = EmbedSettings().rows_per_shard, TeacherSettings().pictures_per_part
    train, everything = math.ceil(SWIG_TRAIN / shard), math.ceil(SWIG_PICTURES / shard)
    banks = 2 * train + everything
    vectors = train + everything
    headers, labels, indexes, manifest_and_lock = 3, 3, 2, 2
    return banks + vectors + math.ceil(SWIG_TRAIN / part) + headers + labels + indexes + manifest_and_lock


def text(data: Mapping[str, Any]) -> str:
    """The table of promises, then the rates they come from."""
    promises = promise_table(data["targets"], TARGETS)
    return "\n".join([promises, "", _rates(data), "", *data["notes"]])


def _rates(data: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            size(data["bytes_per_picture"][name]),
            f"{data['write_pictures_per_s'][name]:.0f}",
            f"{data['warm_pictures_per_s'][name]:.0f}",
            number(data["cold_pictures_per_s"][name]),
        ]
        for name in data["bytes_per_picture"]
    ]
    table = render(["layout", "a picture", "written/s", "read/s warm", "read/s cold"], rows)
    limits = (
        f"limits: memory copy {size(round(data['copy_bytes_per_s']))}/s, the same bytes as the bf16 batches; "
        f"disk, one stream, {size(round(data['disk_bytes_per_s']))}/s, the bf16 files; checksums, one core, "
        f"{size(round(data['checksum_bytes_per_s']))}/s, where verify does "
        f"{size(round(data['verify_bytes_per_s']))}/s"
    )
    return f"{table}\n{limits}"

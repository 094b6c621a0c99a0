"""What `bench student` promises, and how its figures are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.bench.promises import Target, promise_table
from pipeline.table import render

TARGETS: Mapping[str, Target] = {
    "train_bf16_per_s": Target(">=", 35, "pictures/s in training, corrected method, batches in memory"),
    "train_fp32_per_s": Target(">=", 7, "the same in fp32"),
    "eval_per_s": Target(">=", 100, "pictures/s of the student alone, read from a store and scored, fp32"),
    "train_matmul_share": Target(">=", 0.30, "counted FLOPs / time in bf16, of this machine's bf16 rate"),
    "store_vs_memory": Target(">=", 0.95, "bf16 training from a warm bf16 store against batches in memory"),
    "peak_rss_gb": Target("<=", 1.8, "10^9 bytes, the larger of train-student's peaks in bf16 and fp32"),
    "verbs_10000_vs_504": Target("<=", 1.1, "time of a bf16 step by number of candidate verbs"),
}


def text(data: Mapping[str, Any]) -> str:
    """The table of promises, then what they come from."""
    promises = promise_table(data["targets"], TARGETS)
    return "\n".join([promises, "", _parts(data), "", _limits(data)])


def _parts(data: Mapping[str, Any]) -> str:
    parts = data["step_parts_s"]
    rows = [
        [name, *(f"{parts[kind][name] * 1000:.0f}" for kind in parts)] for name in next(iter(parts.values()))
    ]
    rows.append(["a step", *(f"{data['step_s'][kind] * 1000:.0f}" for kind in parts)])
    return render(["part of a step", *(f"{kind}, ms" for kind in parts)], rows)


def _limits(data: Mapping[str, Any]) -> str:
    rates, shares, peaks = data["matmul_flops_per_s"], data["matmul_share"], data["peak_gb"]
    lines = [
        f"limits: matrices of this machine in {kind} {rates[kind] / 1e9:.0f} GFLOP/s; a step of "
        f"{data['batch']} pictures is {data['step_flops'][kind] / 1e9:.0f} GFLOP and reaches "
        f"{shares[kind]:.0%} of it; peak {peaks[kind]:.2f} GB"
        for kind in rates
    ]
    place = f"{data['device']}, {data['threads']} threads"
    rounds = f"medians of {data['rounds']} rounds of {data['steps']} steps each"
    return "\n".join(
        [*lines, f"on {place}; {rounds}; `train.precision: auto` takes {data['precision']} here"]
    )

"""Whether an export says what the student says, number by number.

Axes: B pictures, Q vision tokens, Ds their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from cache.errors import FindingsError
from stages.student.exporting.onnx_student import OnnxStudent
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.model import Recognition, Situation, Student

BOUND = 1e-4  # largest difference of any number; logits are of size 1 to 100


@torch.inference_mode()
def differences(
    student: Student, exported: OnnxStudent, tokens: Tensor, texts: LabelTexts
) -> dict[str, float]:
    """Output -> largest absolute difference, over all pictures at once, one alone, and half of the verbs.

    tokens  [B, Q, Ds], B at least 1
    """
    worst: dict[str, float] = {}
    half = max(1, len(texts.verb) // 2)
    fewer = LabelTexts(texts.verb[:half], texts.role[:half], texts.role_mask[:half], texts.noun[: half + 3])
    for vision, asked in ((tokens, texts), (tokens[:1], texts), (tokens, fewer)):
        ours, theirs = student.label_vectors(asked), exported.label_vectors(asked)
        _note(worst, ours, theirs)
        seen, seen_there = student(vision, ours), exported(vision, theirs)
        _note(worst, seen, seen_there)
        verb = seen.verb_logits.argmax(dim=-1)
        said = student.situate_verbs(seen.memory, ours, verb)
        _note(worst, said, exported.situate_verbs(seen_there.memory, theirs, verb))
    return worst


def require_parity(found: Mapping[str, float], what: str) -> None:
    """Raises FindingsError where a difference is above the bound, or no number at all."""
    bad = {name: value for name, value in found.items() if not value <= BOUND}
    if bad:
        name = max(bad, key=lambda name: bad[name])
        raise FindingsError(
            f"the exported {what} differs from PyTorch's by {bad[name]:.2g} in {name}, more than {BOUND:g}: "
            "nothing was written; export with the versions of torch, onnx and onnxruntime in constraints.txt"
        )


def _note(
    worst: dict[str, float],
    ours: LabelVectors | Recognition | Situation,
    theirs: LabelVectors | Recognition | Situation,
) -> None:
    for field in fields(ours):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if a is None and b is None:  # no verb is raised
            continue
        name = f"label_{field.name}" if isinstance(ours, LabelVectors) else field.name
        found = largest_difference(a, b)
        # `max` keeps its first argument against NaN, so NaN must come first to be kept.
        worst[name] = max(found, worst.get(name, 0.0))


def largest_difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute one; NaN where either holds NaN."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a.float() - b.float()).abs().max()) if a.numel() else 0.0

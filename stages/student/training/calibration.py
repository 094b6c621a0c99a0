"""How far the logits of unseen verbs may be raised without costing more than a little on seen ones.

A softmax trained on seen verbs prefers them: pictures of unseen verbs are given to seen ones. Chao et al.
(ECCV 2016) take one number from every seen verb's logit, which is the same as adding it to the others, and
choose it on pictures of unseen verbs. Here no such picture may be looked at, so it comes from the other
side: the largest with which the top-1 accuracy on the *seen* verbs of dev falls by at most `tolerance`
points. Of the unseen verbs it uses the text of their names, which a user who asks about them gives anyway.
It says nothing of how much the unseen verbs gain.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cache.errors import UserError
from stages.student.measuring.evaluate import verb_logits
from stages.student.network.labels import LabelTexts, LabelVectors
from stages.student.network.model import Student
from stages.student.settings import TrainSettings
from stages.student.training_data import TrainingData, training_verbs

# Points; what each choice costs seen verbs and gives unseen ones is measured in docs/method.md. And of what a
# student names rightly no more than this share: one that has hardly begun has no 2 points to give.
DEFAULT_TOLERANCE, DEFAULT_SHARE = 2.0, 0.05


def calibrated_labels(
    student: Student, labels: LabelVectors, data: TrainingData, settings: TrainSettings, device: torch.device
) -> LabelTexts:
    """The labels with what the unseen verbs' logits are raised by, as `train.calibrate` allows."""
    tolerance, share = settings.calibrate, 1.0
    if tolerance is None:
        tolerance, share = (0.0, 0.0) if student.as_released else (DEFAULT_TOLERANCE, DEFAULT_SHARE)
    unseen = ~training_verbs(data)
    if not tolerance or not len(data.select) or not bool(unseen.any()):
        return data.labels
    logits, verb = verb_logits(student, labels, data.select, settings.batch_size, device)
    return replace(data.labels, verb_bias=unseen_bias(logits, verb, unseen, tolerance, share) * unseen)


def unseen_bias(logits: Tensor, verb: Tensor, unseen: Tensor, tolerance: float, share: float = 1.0) -> float:
    """The largest number that may be added to the unseen verbs' logits.

    logits     [M, V] of pictures of seen verbs, not yet raised
    verb       [M] annotated verbs
    unseen     [V] bool
    tolerance  points of top-1 accuracy, averaged per verb and then over verbs, that may be lost
    share      of the accuracy without the number, which is no more to be lost either

    0 where nothing is unseen, nothing is known or nothing may be lost. Raises UserError where a picture is of
    an unseen verb.
    """
    if bool(unseen[verb].any()):
        raise UserError(
            f"{int(unseen[verb].sum())} of {len(verb)} pictures for the calibration are of held-out verbs; a "
            "number chosen on them would make their test figures mean nothing: give pictures of seen verbs"
        )
    if not len(verb) or not bool(unseen.any()) or tolerance <= 0:
        return 0.0
    own = logits.gather(1, verb[:, None])[:, 0]
    others = logits.clone()
    others.scatter_(1, verb[:, None], float("-inf"))
    right = own > others.amax(dim=1)
    margin = own - others[:, unseen].amax(dim=1)  # with this number or more a right picture becomes wrong
    pictures = torch.bincount(verb)
    costs = 100 * right / pictures[verb] / (pictures > 0).sum()
    order = margin.argsort(stable=True)
    lost = costs.double()[order].cumsum(dim=0)  # by the number that the margin is, or more
    allowed = min(tolerance, share * lost[-1].item())
    if not allowed:
        return 0.0
    over = (lost > allowed + 1e-9).nonzero()
    last = margin[order][over[0, 0] if len(over) else -1].item()
    # Below the margin of the first picture that may not be lost, by more than float32 rounds a logit.
    return max(0.0, last - 1e-4)

"""One step of training: forward, backward, and the optimizer where everything is finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cache.errors import UserError
from stages.student.network.labels import LabelVectors
from stages.student.objective.objective import Loss, Objective
from stages.student.processes import Processes
from stages.student.reading.batch import Batch
from stages.student.settings import TrainSettings
from stages.student.term_counts import shares as term_shares
from stages.student.training.precision import Precision, computing

_SHOWN = 5


class Stepper:
    """Objective and optimizer of one run; `labels` and `candidates` as `Objective.forward` takes them."""

    def __init__(
        self,
        objective: Objective,
        labels: LabelVectors,
        candidates: Tensor,
        settings: TrainSettings,
        device: torch.device,
        precision: Precision,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.objective, self.labels, self.candidates = objective, labels, candidates
        self.device, self.precision, self.clip = device, precision, settings.clip
        self.optimizer = torch.optim.AdamW(
            objective.parameters(),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )

    def step(self, batch: Batch) -> Loss:
        """One step on one batch that is not shared with other processes."""
        return self.step_parts([batch])

    def step_parts(self, parts: Sequence[Batch], counted: bool = True) -> Loss:
        """One step on a batch that comes in parts, of which other processes may have some: as on the whole.

        counted  False where this process has no picture of the batch: `parts` then only show it which
                 parameters have gradients, and add nothing

        Raises UserError where the loss or a gradient is not finite; the weights are then those before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        own = self._backward(parts, counted)
        loss = self.processes.sum_loss(_added(own))
        self.processes.sum_gradients(list(self.objective.parameters()))
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.clip or float("inf"))
        if not torch.isfinite(norm + loss.total):  # the one place where a GPU is waited for
            raise self._not_finite(loss, own, parts)
        self.optimizer.step()
        return loss

    def _backward(self, parts: Sequence[Batch], counted: bool) -> list[Loss]:
        """Adds up the gradients of the parts; returns what each adds to the loss, without its graph."""
        shares: list[Tensor | None] = [None]
        if len(parts) > 1 or self.processes.count > 1:
            counts = torch.stack([self.objective.counts(part) for part in parts]).to(self.device) * counted
            whole = self.processes.sum_counts(counts.sum(dim=0))
            shares = [term_shares(own, whole) for own in counts]
        losses = []
        for part, share in zip(parts, shares, strict=True):
            with computing(self.device, self.precision):
                loss: Loss = self.objective(part.to(self.device), self.labels, self.candidates, share)
            loss.total.backward()  # type: ignore[no-untyped-call]
            losses.append(Loss(loss.total.detach(), loss.terms))
        return losses

    def _not_finite(self, loss: Loss, own: Sequence[Loss], parts: Sequence[Batch]) -> UserError:
        """Names the part of the batch where it happened, in whichever process that is."""
        found = [(one, part) for one, part in zip(own, parts, strict=True) if not torch.isfinite(one.total)]
        if found:
            said = self._said(_bad_terms(found[0][0]), found[0][1])
        elif torch.isfinite(loss.total):
            names = [name for name, p in self.objective.named_parameters() if not _is_finite(p.grad)]
            said = self._said(
                f"the loss is finite, but not the gradient of {', '.join(names[:_SHOWN])}", *parts
            )
        else:
            said = ""
        return UserError(self.processes.first_said(said) or self._said(_bad_terms(loss), *parts))

    def _said(self, what: str, *parts: Batch) -> str:
        images = [image for part in parts for image in part.images]
        fp32 = ", train.precision to fp32" if self.precision == "bf16" else ""
        return (
            f"{what}, in a batch of {len(images)} with {', '.join(images[:_SHOWN])}{self.processes.whose}; "
            f"the weights are those before it. Set train.lr lower, train.clip above 0{fp32}, and check the "
            "banks with `mipd-pipe inspect verify`"
        )


def _bad_terms(loss: Loss) -> str:
    bad = [name for name, term in loss.terms.items() if not torch.isfinite(term)]
    return f"the loss is {loss.total.item()} in the terms {', '.join(bad) or 'total'}"


def _added(losses: Sequence[Loss]) -> Loss:
    first = losses[0]
    if len(losses) == 1:
        return first
    terms = {name: torch.stack([loss.terms[name] for loss in losses]).sum() for name in first.terms}
    return Loss(torch.stack([loss.total for loss in losses]).sum(), terms)


def _is_finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())

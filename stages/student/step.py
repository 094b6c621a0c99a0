"""One step of training: forward, backward, and the optimizer where everything is finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache.errors import UserError
from stages.student.batch import Batch
from stages.student.labels import LabelVectors
from stages.student.objective import Loss, Objective
from stages.student.precision import Precision, computing
from stages.student.settings import TrainSettings

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
    ) -> None:
        self.objective, self.labels, self.candidates = objective, labels, candidates
        self.device, self.precision, self.clip = device, precision, settings.clip
        self.optimizer = torch.optim.AdamW(
            objective.parameters(),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )

    def step(self, batch: Batch) -> Loss:
        """Raises UserError where the loss or a gradient is not finite; the weights are then those before."""
        with computing(self.device, self.precision):
            loss: Loss = self.objective(batch.to(self.device), self.labels, self.candidates)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.clip or float("inf"))
        if not torch.isfinite(norm + loss.total.detach()):  # the one place where a GPU is waited for
            raise self._not_finite(loss, batch)
        self.optimizer.step()
        return loss

    def _not_finite(self, loss: Loss, batch: Batch) -> UserError:
        bad = [name for name, term in loss.terms.items() if not torch.isfinite(term)]
        what = f"the loss is {loss.total.item()} in the terms {', '.join(bad) or 'total'}"
        if torch.isfinite(loss.total):
            names = [name for name, p in self.objective.named_parameters() if not _is_finite(p.grad)]
            what = f"the loss is finite, but not the gradient of {', '.join(names[:_SHOWN])}"
        images = ", ".join(batch.images[:_SHOWN])
        fp32 = ", train.precision to fp32" if self.precision == "bf16" else ""
        return UserError(
            f"{what}, in a batch of {len(batch.images)} with {images}; the weights are those before it. Set "
            f"train.lr lower, train.clip above 0{fp32}, and check the banks with `mipd-pipe inspect verify`"
        )


def _is_finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(gradient).all())

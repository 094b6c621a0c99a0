"""Several processes, on one node or many, as `torchrun` starts them: gloo between CPUs, nccl between GPUs.

Gradients are added up rank by rank and not averaged: every process has divided by the whole batch's counts.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from stages.student.objective.objective import Loss
from stages.student.processes import LostProcessError, Processes
from stages.student.training.device import choose_device

LONGEST = timedelta(hours=1)  # that the others wait for rank 0, which evaluates alone
BEAT = 0.5  # seconds between two signs of life
SILENCE = 2.5  # seconds without one after which a process counts as gone
_BUCKET = 1 << 22  # numbers of gradients that are sent at once; 16 MB


@contextmanager
def training_processes(device: str) -> Iterator[Processes]:
    """All processes that `torchrun` started with this one; this one alone where it did not start it.

    device  as `train.device`
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    backend = "nccl" if choose_device(device).type == "cuda" else "gloo"
    store, rank, count = next(iter(rendezvous("env://", timeout=LONGEST)))
    group = PrefixStore("group", store)
    dist.init_process_group(backend, store=group, rank=rank, world_size=count, timeout=LONGEST)
    processes = TorchrunProcesses(PrefixStore("mipd", store), rank, count, backend)
    try:
        with processes.alive():
            yield processes
    finally:
        dist.destroy_process_group()


class TorchrunProcesses(Processes):
    """See `Processes`. Where another process is gone, whatever is said to all raises LostProcessError."""

    def __init__(self, store: Any, rank: int, count: int, backend: str) -> None:
        self.rank, self.count = rank, count
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.whose = f", of rank {rank} of {count}"
        self._store = store
        self._device = torch.device("cuda", self.local_rank) if backend == "nccl" else torch.device("cpu")
        self._stop = torch.zeros((), dtype=torch.float64)
        self._said = 0
        store.set(f"name/{rank}", f"process {os.getpid()} on {socket.gethostname()}")

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Gives signs of life inside, and tells the others why it ends where that is by an exception."""
        over = threading.Event()
        beats = threading.Thread(target=self._beat, args=(over,), name="beat", daemon=True)
        beats.start()
        try:
            yield
        except LostProcessError:
            self._leave("")  # its name is another's
            raise
        except BaseException as reason:
            self._leave(str(reason) if isinstance(reason, Exception) else "it was asked to stop")
            raise
        finally:
            over.set()
            beats.join()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT):
            try:
                self._store.add(f"beat/{self.rank}", 1)
            except RuntimeError:  # the store went with the process that held it
                return

    def _leave(self, why: str) -> None:
        try:
            self._store.set(f"left/{self.rank}", why)
        except RuntimeError:
            return

    # --- what is said to all -------------------------------------------------------------------------

    def want_stop(self, wanted: bool) -> None:
        self._stop = torch.tensor(float(wanted), dtype=torch.float64)

    @property
    def stopping(self) -> bool:
        return bool(self._stop > 0)

    def sum_counts(self, counts: Tensor) -> Tensor:
        return self._told(counts.double(), dist.all_reduce)

    def sum_loss(self, loss: Loss) -> Loss:
        own = [loss.total, *loss.terms.values(), self._stop.to(loss.total.device)]
        total, *terms, self._stop = self._told(torch.stack([t.double() for t in own]), dist.all_reduce)
        return Loss(total.float(), dict(zip(loss.terms, (term.float() for term in terms), strict=True)))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Which parameters have a gradient is the same everywhere: it hangs on the settings alone."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for bucket in _buckets(gradients):
            whole = self._told(torch.cat([gradient.flatten() for gradient in bucket]), dist.all_reduce)
            for gradient, summed in zip(bucket, torch.split(whole, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def send_weights(self, module: nn.Module) -> None:
        for tensor in module.state_dict().values():
            self._told(tensor, lambda t: dist.broadcast(t, 0))

    def send(self, number: float) -> float:
        told = torch.tensor(number, dtype=torch.float64, device=self._device)
        return self._told(told, lambda t: dist.broadcast(t, 0)).item()

    def first_said(self, said: str) -> str:
        self._said += 1
        key = f"said/{self._said}"
        self._store.set(f"{key}/{self.rank}", said)
        self._told(torch.zeros(1, device=self._device), dist.all_reduce)  # everybody has said it
        texts = [self._store.get(f"{key}/{rank}").decode() for rank in range(self.count)]
        return next((text for text in texts if text), "")

    def _told(self, tensor: Tensor, tell: Callable[[Tensor], Any]) -> Tensor:
        try:
            tell(tensor)
        except RuntimeError as reason:
            raise self._lost(reason) from None
        return tensor

    # --- who is gone ---------------------------------------------------------------------------------

    def _lost(self, reason: RuntimeError) -> LostProcessError:
        """Waits for as long as a process that is there may be silent."""
        others = [rank for rank in range(self.count) if rank != self.rank]
        try:
            before = [self._beats(rank) for rank in others]
            threading.Event().wait(SILENCE)
            silent = [rank for rank, seen in zip(others, before, strict=True) if self._beats(rank) == seen]
            said = {rank: self._store.get(f"left/{rank}").decode() for rank in others if self._has_left(rank)}
            names = {rank: self._store.get(f"name/{rank}").decode() for rank in others}
        except RuntimeError:
            return LostProcessError(
                f"rank 0 of {self.count} is gone, and so is what the processes knew of each other ({reason})"
            )
        told = [f"{self._of(rank, names)} stopped: {why}" for rank, why in said.items() if why]
        died = [
            f"{self._of(rank, names)} ended without a word: killed, out of memory, or with its node"
            for rank in silent
            if rank not in said
        ]
        return LostProcessError(
            "; ".join(died + told) or f"the processes lost touch with each other ({reason})"
        )

    def _of(self, rank: int, names: dict[int, str]) -> str:
        return f"rank {rank} of {self.count} ({names[rank]})"

    def _beats(self, rank: int) -> int:
        return int(self._store.add(f"beat/{rank}", 0))

    def _has_left(self, rank: int) -> bool:
        return bool(self._store.check([f"left/{rank}"]))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        bucket.append(gradient)
        if sum(each.numel() for each in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket

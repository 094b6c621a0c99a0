"""The language model behind stage one: vLLM inside this process.

Requests go in one at a time and answers come out as they finish (`LLM.enqueue_chat` and `LLMEngine.step`):
`LLM.chat` would fail a whole list for one bad picture. Written against vLLM 0.32; what is said of its
behaviour below was measured there.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from cache.errors import MachineError
from stages.reporter import SilentReporter
from stages.teacher.encoders.hf_checkpoint import Checkpoint, open_checkpoint
from stages.teacher.engines.engine import Answer, Engine, Request
from stages.teacher.engines.engine_pool import EnginePool
from stages.teacher.engines.engine_wear import EngineWear
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.process_memory import family, private_gib
from stages.teacher.engines.vllm_core import end_llm, processes, watch_over
from stages.teacher.engines.vllm_load import load_llm
from stages.teacher.engines.vllm_request import MAX_PIXELS, SchemaError, VllmRequests
from stages.teacher.engines.vllm_settings import EXAMPLE, VllmSettings
from stages.teacher.engines.vlm_files import weights_identity

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput


@dataclass(slots=True)
class _Job:
    """A request on its way through the engine; `since` is the moment the engine accepted it."""

    request: Request
    tries: int = 0
    since: float = 0.0


@dataclass(slots=True)
class _Flow:
    """Requests on their way: still to come, inside the engine by its own name for them, to go in again."""

    jobs: Iterator[_Job]
    inside: dict[str, _Job] = field(default_factory=dict)
    again: list[_Job] = field(default_factory=list)

    def next(self) -> _Job | None:
        return self.again.pop() if self.again else next(self.jobs, None)

    def has_more(self) -> bool:
        """Whether anything is left to go in; takes it from the source to find out."""
        job = self.next()
        if job is not None:
            self.again.append(job)
        return job is not None


def open_vllm(
    settings: VllmSettings, max_pixels: int = MAX_PIXELS, say: Callable[[str], None] | None = None
) -> Engine:
    """The engine that `settings` ask for: one in this process, or several in processes of their own."""
    make = partial(VllmEngine, settings, max_pixels)
    if settings.data_parallel_size == 1:
        return make(say)
    return EnginePool(make, settings.data_parallel_size, gpus_each=settings.tensor_parallel_size, say=say)


class VllmEngine:
    """Answers requests with a multimodal chat model; loads it at the first request.

    The default, multi-process engine starts this program's main module anew in its processes, so a script
    that uses it needs ``if __name__ == "__main__":``.

    max_pixels  a larger picture is an error of its request, before its pixels are unpacked
    say         told when the engine is loaded anew, and at the end how much memory it held
    wear        how much was answered, how often the engine was loaded anew, and its peak of memory
    """

    def __init__(
        self,
        settings: VllmSettings,
        max_pixels: int = MAX_PIXELS,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self._say = say or SilentReporter().say
        self.wear = EngineWear(settings.recycle_after, settings.recycle_above_gib, self._say)
        self._requests = VllmRequests(settings, max_pixels)
        self._llm: LLM | None = None
        self._closing = threading.Event()

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return open_checkpoint(self.settings.model, self.settings.revision, EXAMPLE)

    @cached_property
    def _identity(self) -> Mapping[str, Any]:
        settings = self.settings
        weights = weights_identity(self._checkpoint)
        return {
            "engine": "vllm",
            "teacher": weights["model"],
            "revision": weights["revision"],
            "dtype": settings.dtype,
            "trust_remote_code": settings.trust_remote_code,
            "processor": settings.processor,
            "chat_template": settings.chat_template,
            "sampling": {
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "max_tokens": settings.max_tokens,
            },
            **({"extra": settings.extra} if settings.extra else {}),
        }

    def identity(self) -> Mapping[str, Any]:
        """Names the model's contents and the sampling, without loading anything.

        Left out: what decides speed and memory alone (window, max_num_seqs, max_model_len, memory share,
        parallelism, prefix cache, recycling, eager mode, retries), and vLLM's version, which changes the last
        bits of logits at most: an upgrade must not throw away the rationales of months. With a GPU's bf16
        kernels a repeated request may differ in the same way; a row keeps the text that was really written.

        Raises UserError where there is no such model.
        """
        return self._identity

    def load(self) -> None:
        """Loads the model now instead of at the first request; does nothing when it is loaded.

        Raises UserError where vLLM or a part of the model is missing or they do not go together,
        MachineError where the engine does not come up.
        """
        if self._llm is not None:
            return
        self._llm = load_llm(self.settings, self._checkpoint)
        self._closing = threading.Event()
        watch_over(self._llm, self._closing)
        self.wear.begin(partial(_held_gib, self._llm.llm_engine.engine_core))

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.answer`. Holds at most `window` requests in the engine and takes them lazily.

        A worn engine gets nothing more, is emptied and loaded anew, and then goes on.
        """
        self.load()
        flow = _Flow(map(_Job, requests))
        try:
            while True:
                worn = self.wear.reason()
                if not worn:
                    yield from self._fill(flow)
                elif not flow.inside and flow.has_more():
                    self._recycle(worn)
                    continue
                if not flow.inside:
                    return
                yield from self._collect(flow)
        finally:  # where nobody wants the rest: no later call may meet answers to requests of this one
            if flow.inside and self._llm is not None and not self._closing.is_set():
                with suppress(Exception):  # an engine that died or was interrupted has nothing to call off
                    self._llm.llm_engine.abort_request(list(flow.inside))

    def _fill(self, flow: _Flow) -> Iterator[Answer]:
        """Hands requests in until the window is full; yields the answers of those refused there."""
        window = self.settings.window or 4 * self.settings.max_num_seqs
        while len(flow.inside) < window:
            job = flow.next()
            if job is None:
                return
            refusal = self._enter(job, flow.inside)
            if refusal:
                yield Answer(job.request.key, "", "error", error=refusal)

    def _collect(self, flow: _Flow) -> Iterator[Answer]:
        """Lets the engine work one step; yields what it finished."""
        assert self._llm is not None
        for output in _step(self._llm.llm_engine):
            job = flow.inside.pop(output.request_id, None) if output.finished else None
            if job is not None and self._was_dropped(output, job):
                flow.again.append(job)
            elif job is not None:
                self.wear.count()
                yield _to_answer(output, job)

    def _recycle(self, reason: str) -> None:
        self._say(f"loading the engine anew: {reason}; most memory held so far {self.wear.peak_gib:.1f} GiB")
        self._end()
        gc.collect()  # what it left in this process stands in cycles
        self.load()
        self.wear.recycled += 1

    def _enter(self, job: _Job, inside: dict[str, _Job]) -> str:
        """Hands one request to the engine; returns why it was refused, or nothing."""
        from vllm.v1.engine.exceptions import EngineDeadError

        assert self._llm is not None
        try:
            sampling = self._requests.sampling(job.request, self._llm)
            messages = [self._requests.messages(job.request)]
            template = dict(self.settings.chat_template) or None
            (name,) = self._llm.enqueue_chat(
                messages, sampling, use_tqdm=False, chat_template_kwargs=template
            )
        except (EngineDeadError, MemoryError) as reason:
            raise _died(reason) from reason
        except (MachineError, SchemaError):
            raise
        except Exception as reason:  # whatever a picture or a prompt makes vLLM or the processor raise
            return _refusal(reason)
        job.since = time.monotonic()
        inside[name.rsplit("-", 1)[0]] = job  # "29-b8849606" goes in, "29" comes out
        return ""

    def _was_dropped(self, output: RequestOutput, job: _Job) -> bool:
        """Whether to hand a request in again that the engine gave up by itself, without an exception."""
        job.tries += 1
        return output.outputs[0].finish_reason in {"error", "abort"} and job.tries <= self.settings.retries

    def close(self) -> None:
        """Ends the engine's processes; may be called twice, and on an engine that died."""
        if self._llm is not None and self.wear.answers_in_all:
            self._say(
                f"the engine gave {self.wear.answers_in_all} answers, was loaded anew {self.wear.recycled} "
                f"times, and held at most {self.wear.peak_gib:.1f} GiB of memory"
            )
        self._end()

    def _end(self) -> None:
        self._closing.set()
        llm, self._llm = self._llm, None
        if llm is not None:
            end_llm(llm)


def _step(engine: Any) -> list[RequestOutput]:
    """Outputs of one step. Raises MachineError when the engine is dead, in whatever way it says so."""
    try:
        return list(engine.step())
    except Exception as reason:
        raise _died(reason) from reason


def _to_answer(output: RequestOutput, job: _Job) -> Answer:
    completion = output.outputs[0]
    reason = completion.finish_reason
    dropped = reason not in {"stop", "length"}
    return Answer(
        key=job.request.key,
        text="" if dropped else completion.text,
        finish_reason="error" if dropped else reason,
        tokens_in=len(output.prompt_token_ids or ()),
        tokens_out=len(completion.token_ids),
        seconds=time.monotonic() - job.since,
        error=f"the engine dropped the request {job.tries} times ({reason})" if dropped else "",
    )


def _refusal(reason: Exception) -> str:
    """Why a request cannot be asked; where it does not fit into the context, also what makes it fit."""
    text = plain(reason)
    if "context length" not in text and "decoder prompt" not in text:
        return text
    text = text.partition(" Make sure")[0].rstrip(".")
    return (
        f"{text}. Prompt, picture and answer must fit together: raise teacher.vllm.max_model_len, or have "
        "the picture cut into fewer tokens by teacher.vllm.processor (such as max_pixels)"
    )


def _held_gib(core: Any) -> float:
    """Memory of this process and of the engine's, in GiB."""
    below = [pid for process in processes(core) for pid in family(process.pid)]
    return private_gib([os.getpid(), *below])


def _died(reason: BaseException) -> MachineError:
    return MachineError(
        f"the vLLM engine died ({plain(reason)}); its messages above say why. If memory ran out, lower "
        "teacher.vllm.max_num_seqs or max_model_len. Everything finished is kept: run the same command again"
    )

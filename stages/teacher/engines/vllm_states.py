"""The last hidden states of a language model under vLLM: its pooling runner with the task `token_embed`.

Axes: N tokens of one prompt, D width of a state. States come after the model's final norm; vLLM gives out no
others. Written against vLLM 0.32; what is said of its behaviour was measured there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.errors import MachineError, UserError
from stages.teacher.encoders.encoder import Floats
from stages.teacher.encoders.encoder_settings import EncoderSettings
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_device import NumberFormat
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.vllm_core import end_llm, watch_over
from stages.teacher.engines.vllm_load import has_own_template, require_vllm, start_llm
from stages.teacher.engines.vlm_files import check_files

if TYPE_CHECKING:
    from vllm import LLM

_DTYPE = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class States:
    """One prompt as the model read it: `ids` [N] of its tokens, and their `hidden` states [N, D] float32."""

    ids: NDArray[np.int64]
    hidden: Floats


class HiddenStates:
    """Prompts -> states; the engine starts at the first prompt. `close` ends it, and the next starts another.

    section   dotted path of the encoder's settings, for messages
    pictures  every prompt has one picture; else they are tokens alone
    """

    def __init__(
        self,
        settings: EncoderSettings,
        checkpoint: Checkpoint,
        precision: NumberFormat,
        section: str,
        pictures: bool,
    ) -> None:
        self._settings, self._checkpoint, self._precision = settings, checkpoint, precision
        self._section, self._pictures = section, pictures
        self._llm: LLM | None = None
        self._closing = threading.Event()
        self._chat: dict[str, Any] | None = None

    def of_pictures(self, pictures: Sequence[Image.Image]) -> list[States]:
        """Of the model's own chat in which a user shows a picture and says nothing."""
        llm = self._load()
        if self._chat is None:
            self._chat = _chat_of_a_picture(llm, pictures[0])
        return self._encode([{**self._chat, "multi_modal_data": {"image": one}} for one in pictures])

    def of_tokens(self, prompts: Sequence[Sequence[int]]) -> list[States]:
        return self._encode([{"prompt_token_ids": list(ids)} for ids in prompts])

    def close(self) -> None:
        """May be called twice, and on an engine that died."""
        self._closing.set()
        llm, self._llm = self._llm, None
        if llm is not None:
            end_llm(llm)

    def _encode(self, prompts: list[dict[str, Any]]) -> list[States]:
        llm = self._load()
        try:
            outputs = llm.encode(
                prompts,
                pooling_task="token_embed",
                use_tqdm=False,
                tokenization_kwargs={"add_special_tokens": False},  # the chat template wrote them
            )
        except ValueError as reason:  # VLLMValidationError is one
            raise UserError(
                f"vLLM refuses what {self._section} encodes ({plain(reason)}); where it is too long, raise "
                f"{self._section}.vllm.max_model_len"
            ) from reason
        except Exception as reason:
            raise MachineError(
                f"the vLLM engine of {self._section} died ({plain(reason)}); its messages above say why. If "
                f"memory ran out, lower {self._section}.batch_size or vllm.max_model_len. Everything "
                "finished is kept: run the same command again"
            ) from reason
        return [
            States(np.array(output.prompt_token_ids, np.int64), output.outputs.data.float().cpu().numpy())
            for output in outputs
        ]

    def _load(self) -> LLM:
        if self._llm is None:
            require_vllm(f"set {self._section}.source to transformers")
            if self._pictures:
                own = has_own_template(self._checkpoint)
                check_files(self._checkpoint, own, f"{self._section}.model")
            self._llm = start_llm(
                self._settings.vllm, self._arguments(), self._checkpoint, f"{self._section}.vllm"
            )
            self._closing = threading.Event()
            watch_over(self._llm, self._closing)
        return self._llm

    def _arguments(self) -> dict[str, Any]:
        from vllm.config import PoolerConfig

        return {
            "runner": "pooling",
            "convert": "embed",
            # Not activated: that would scale every token to length 1.
            "pooler_config": PoolerConfig(task="token_embed", use_activation=False),
            "dtype": _DTYPE[self._precision],
            "max_num_seqs": self._settings.batch_size,
            # What a cache or an earlier step has done is done without giving its states out again.
            "enable_prefix_caching": False,
            "enable_chunked_prefill": False,
            **({"limit_mm_per_prompt": {"image": 1}} if self._pictures else {}),
        }


def _chat_of_a_picture(llm: LLM, picture: Image.Image) -> dict[str, Any]:
    """The prompt, with the picture's placeholder where the model's template puts it.

    As text or token ids: handed the fully rendered chat, `encode` drops the picture without a word.
    """
    from vllm.renderers.params import ChatParams

    chat = [{"role": "user", "content": [{"type": "image_pil", "image_pil": picture}]}]
    params = ChatParams(chat_template_kwargs={"add_generation_prompt": False, "tokenize": False})
    _, prompt = llm.llm_engine.renderer.render_messages(chat, params)
    return {name: prompt[name] for name in ("prompt", "prompt_token_ids") if name in prompt}

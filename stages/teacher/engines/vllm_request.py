"""What vLLM is asked for one request: the chat with its picture, and the sampling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from cache.keys import digest_bytes, fingerprint
from stages.data.pictures import decode, read_bytes, to_rgb
from stages.teacher.engines.engine import Request
from stages.teacher.engines.fault_text import plain
from stages.teacher.engines.vllm_settings import VllmSettings

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

MAX_PIXELS = 178_956_970  # vLLM refuses larger pictures


class SchemaError(UserError):
    """The engine cannot hold answers to the schema of a request."""


class VllmRequests:
    """Turns requests into vLLM's terms.

    max_pixels  a larger picture is refused before its pixels are unpacked
    """

    def __init__(self, settings: VllmSettings, max_pixels: int) -> None:
        self._settings, self._max_pixels = settings, min(max_pixels, MAX_PIXELS)
        self._verified: set[str] = set()  # schemas the backend is known to take

    def messages(self, request: Request) -> list[dict[str, Any]]:
        """Shared text, picture, question: what all pictures have in common is first, to be computed once.

        Raises ValueError for a picture that cannot be read, is too large, or is not the one that was checked.
        """
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
                "uuid": fingerprint([request.picture_digest, self._settings.processor]),
            },
            {"type": "text", "text": request.prompt.question},
        ]
        return [{"role": "system", "content": request.prompt.system}, {"role": "user", "content": content}]

    def sampling(self, request: Request, llm: LLM) -> SamplingParams:
        """What decides the words of one answer.

        Raises SchemaError where vLLM cannot hold answers to the request's schema: known before a picture is
        sent with it, because later it would fail every request, one by one.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        schema = json.dumps(request.schema)
        sampling = SamplingParams(
            temperature=0.0 if request.greedy else self._settings.temperature,
            top_p=self._settings.top_p,
            max_tokens=self._settings.max_tokens * request.token_factor,
            seed=request.seed,
            structured_outputs=StructuredOutputsParams(json=schema),
        )
        if schema not in self._verified:
            _verify(sampling, llm)
            self._verified.add(schema)
        return sampling


def _verify(sampling: SamplingParams, llm: LLM) -> None:
    config = llm.llm_engine.vllm_config
    try:
        sampling.verify(config.model_config, None, config.structured_outputs_config, llm.get_tokenizer())
    except ValueError as reason:
        raise SchemaError(f"vLLM cannot hold answers to the schema: {plain(reason)}") from reason

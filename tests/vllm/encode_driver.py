"""Encoders over vLLM in a process of their own: `python encode_driver.py MODEL PICTURE... OUT.npz`.

Prints a JSON object with what was refused, and writes what was encoded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cache.errors import UserError
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.encoders.vllm_encoders import BEFORE, VllmText, VllmVision

ENGINE = {"max_model_len": 512, "enforce_eager": True, "gpu_memory_utilization": 0.15}
MAX_TOKENS = 12
TEXTS = ["a man jumps over a fence", "", "a man jumps into water", "a man"]


def vision(model: str, **fields: Any) -> VllmVision:
    given = {"source": "vllm", "model": model, "size": 56, "vllm": ENGINE, **fields}
    return VllmVision(VisionEncoderSettings.model_validate(given))


def text(model: str, **fields: Any) -> VllmText:
    given = {"source": "vllm", "model": model, "vllm": ENGINE, **fields}
    return VllmText(TextEncoderSettings.model_validate(given))


def by_transformers(model: str, texts: list[str]) -> dict[str, Any]:
    """The same states of `BEFORE` and a text from transformers, to be compared."""
    import torch
    import transformers

    read = transformers.AutoModelForImageTextToText.from_pretrained(model, dtype="float32").model.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    before = tokenizer(BEFORE)["input_ids"]
    states = {}
    for number, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            hidden = read(input_ids=torch.tensor([before + ids])).last_hidden_state[0]
        states[f"expected_{number}"] = hidden[len(before) :].numpy()
    return states


def main() -> None:
    model, *pictures, out = sys.argv[1:]
    frames = np.stack([np.asarray(Image.open(path).convert("RGB").resize((56, 56))) for path in pictures])
    refused = {}
    wrong = vision(model, grid=3)
    try:
        wrong.encode(frames[:1])
    except UserError as reason:
        refused["grid"] = str(reason)
    wrong.close()
    right = vision(model, grid=2, batch_size=2)
    encoded: dict[str, Any] = {"pictures": right.encode(frames), "reversed": right.encode(frames[::-1])}
    right.close()
    right.close()
    reader = text(model, max_tokens=MAX_TOKENS, batch_size=2)
    found = reader.encode(TEXTS)
    encoded |= {name: getattr(found, name) for name in ("tokens", "lengths", "pooled", "cut")}
    reader.close()
    np.savez(Path(out), **encoded, **by_transformers(model, ["a man jumps"]))
    sys.stdout.write(json.dumps(refused) + "\n")


if __name__ == "__main__":
    main()

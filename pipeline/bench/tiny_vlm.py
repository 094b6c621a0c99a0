"""A tiny random vision-language model with its tokenizer, built on the spot: nothing is downloaded."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.teacher.asking.prompt import load_prompt

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
IMAGE_SIZE, PATCH, SCALE = 56, 14, 2  # 16 patches, shuffled into 4 image tokens
SPECIAL = (
    "<s>",
    "</s>",
    "<pad>",
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
)


def build_tiny_vlm(folder: Path, seed: int = 0) -> Path:
    """A random Idefics3 of 2 layers and 2.4 MB that vLLM and transformers load from `folder`.

    It needs no torchvision. Its head size is 64, the smallest that vLLM's CPU attention takes.
    """
    import torch

    transformers: Any = import_module("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _write_tokenizer(folder)
    torch.manual_seed(seed)
    config = transformers.Idefics3Config(
        image_token_id=tokens["<image>"],
        scale_factor=SCALE,
        pad_token_id=tokens["<pad>"],
        tie_word_embeddings=False,
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokens),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "pad_token_id": tokens["<pad>"],
            "bos_token_id": tokens["<s>"],
            "eos_token_id": tokens["<end_of_utterance>"],
        },
    )
    model = transformers.Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokens["<end_of_utterance>"]
    model.save_pretrained(folder)
    _write_processor(folder)
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer that has learnt the words of the shipped prompt; returns token -> number."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers: Any = import_module("transformers")
    prompt = load_prompt("rationales")
    texts = [prompt.system, prompt.shared, prompt.question.template, prompt.again.template]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<end_of_utterance>",
        pad_token="<pad>",
        additional_special_tokens=["<fake_token_around_image>", "<image>", "<global-img>"],
        model_max_length=4096,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return dict(wrapped.get_vocab())


def _write_processor(folder: Path) -> None:
    square = {"longest_edge": IMAGE_SIZE}
    image = {
        "image_processor_type": "Idefics3ImageProcessor",
        "do_image_splitting": False,
        "size": square,
        "max_image_size": square,
    }
    both = {"processor_class": "Idefics3Processor", "image_seq_len": (IMAGE_SIZE // PATCH // SCALE) ** 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    (folder / "processor_config.json").write_text(json.dumps(both))

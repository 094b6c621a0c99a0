"""Tiny models with random weights, built on the spot and saved the way published checkpoints are.

Every builder fills a folder with config, weights and, where the model reads text, a tokenizer, and returns
the folder. Same seed, same weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
)
from transformers.utils import logging

WORDS = [
    "a",
    "the",
    "horse",
    "man",
    "jumps",
    "over",
    "fence",
    "rides",
    "bike",
    "in",
    "park",
    "while",
    "dog",
    "runs",
]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]  # unlike any family's, so that reading them shows
QWEN_CLASSES: dict[str, Any] = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
_SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_PICTURE = {**_SMALL, "image_size": 24, "patch_size": 8}  # 3 x 3 patches


def build_clip(folder: Path, seed: int = 0, model_class: Any = CLIPModel) -> Path:
    """CLIP with texts of at most 12 tokens; `model_class` may be one of its halves."""
    tokenizer = _clip_tokenizer()
    config = CLIPConfig(
        text_config={
            **_SMALL,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 12,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "projection_dim": 10,
        },
        vision_config={**_PICTURE, "projection_dim": 10},
        projection_dim=10,
    )
    part = {"CLIPModel": config, "CLIPVisionModel": config.vision_config}
    model = model_class(part.get(model_class.__name__, config.text_config))
    tokenizer.save_pretrained(folder)
    return save(model, folder, seed)


def build_siglip(folder: Path, seed: int = 0, image_size: int = 24) -> Path:
    """SigLIP, which has no class token, with texts padded to 8 tokens."""
    tokenizer = _siglip_tokenizer()
    text: dict[str, Any] = {
        **_SMALL,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 8,
        "projection_size": 10,
    }
    text |= {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1}
    vision = {**_PICTURE, "image_size": image_size}
    tokenizer.save_pretrained(folder)
    return save(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), folder, seed)


def build_blip2(folder: Path, seed: int = 0) -> Path:
    """BLIP-2 with an OPT language model, in shards of which some hold no part of the vision tower."""
    config = Blip2Config(
        vision_config=_PICTURE,
        qformer_config={**_SMALL, "vocab_size": 20, "encoder_hidden_size": 16},
        text_config={
            "model_type": "opt",
            "vocab_size": 400,
            "hidden_size": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 16,
            "max_position_embeddings": 32,
        },
        num_query_tokens=4,
    )
    return save(Blip2ForConditionalGeneration(config), folder, seed, max_shard_size="15KB")


def build_qwen(folder: Path, kind: str, seed: int = 0) -> Path:
    """Qwen-VL of one of three generations with patches of 4 pixels, merged 2 x 2, and tokens of width 20."""
    shared = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
    configs: dict[str, tuple[Any, dict[str, Any]]] = {
        "qwen2_vl": (Qwen2VLConfig, {"embed_dim": 16, "hidden_size": 20, "mlp_ratio": 2}),
        "qwen2_5_vl": (
            Qwen2_5_VLConfig,
            {
                "hidden_size": 16,
                "intermediate_size": 24,
                "out_hidden_size": 20,
                "window_size": 16,
                "fullatt_block_indexes": [1],
            },
        ),
        "qwen3_vl": (
            Qwen3VLConfig,
            {
                "hidden_size": 16,
                "intermediate_size": 24,
                "out_hidden_size": 20,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
        ),
    }
    config, own = configs[kind]
    text = {**_SMALL, "hidden_size": 20, "vocab_size": 32, "num_key_value_heads": 2, "head_dim": 10}
    model = QWEN_CLASSES[kind](config(text_config=text, vision_config={**shared, **own}))
    return save(model, folder, seed)


def build_bert(folder: Path, seed: int = 0, **fields: Any) -> Path:
    """BERT over whole words, with texts of at most 10 tokens."""
    tokenizer = BertTokenizer(
        vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])},
        model_max_length=10,
    )
    config = BertConfig(**{**_SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 10, **fields})
    tokenizer.save_pretrained(folder)
    model = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    return save(model, folder, seed)


def save(model: PreTrainedModel, folder: Path, seed: int, **options: Any) -> Path:
    """Draws every weight anew, so that no layer is the identity, and saves the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            weight.normal_(0, 0.3, generator=generator)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, **options)
    if model.config.model_type != "bert":
        write_json(folder / "preprocessor_config.json", {"image_mean": MEAN, "image_std": STD})
    return folder


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def change_json(path: Path, **fields: Any) -> None:
    """Sets top-level fields of a JSON file."""
    write_json(path, {**json.loads(path.read_text("utf-8")), **fields})


def _clip_tokenizer() -> CLIPTokenizer:
    """Letter by letter: the merges that would make words are left out, so four letters are four tokens."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(vocabulary)}, merges=[], model_max_length=12
    )


def _siglip_tokenizer() -> Any:
    """Whole words and an end token, which also pads; published ones need the sentencepiece package."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<unk>", "</s>", *WORDS])}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_max_length=8
    )

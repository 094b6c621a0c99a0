"""The tokenizer of a pretrained model."""

from __future__ import annotations

from typing import Any

from cache.errors import UserError
from stages.teacher.encoders.hf_checkpoint import Checkpoint
from stages.teacher.encoders.hf_hub import first_line

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
TOKENIZER_EXTRAS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def open_tokenizer(checkpoint: Checkpoint, trust_remote_code: bool) -> Any:
    """The model's tokenizer. Raises UserError where it has none, or one that cannot be read."""
    from transformers import AutoTokenizer

    # Asked first because transformers may build a tokenizer with an empty vocabulary where files are missing.
    found = [checkpoint.find_optional(name) for name in (*TOKENIZER_FILES, *TOKENIZER_EXTRAS)]
    if not any(found[: len(TOKENIZER_FILES)]):
        raise UserError(
            f"{checkpoint.model} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); "
            "copy the tokenizer's files beside config.json, or download the whole model again"
        )
    try:
        return AutoTokenizer.from_pretrained(
            **checkpoint.source(trust_remote_code), trust_remote_code=trust_remote_code
        )
    except ImportError as reason:
        raise UserError(
            f"the tokenizer of {checkpoint.model} needs a package that is not installed "
            f"({first_line(reason)}); `pip install sentencepiece protobuf` serves SigLIP and most others"
        ) from reason
    except Exception as reason:  # the parsers of tokenizer files raise whatever they like
        raise UserError(
            f"the tokenizer of {checkpoint.model} cannot be read ({first_line(reason)}); "
            "download the model again, and set trust_remote_code: true if it comes with its own code"
        ) from reason

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertModel, CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, SiglipModel

from cache.errors import UserError
from stages.teacher.encoders.encoder import Floats, TextEncoder
from stages.teacher.encoders.encoder_settings import TextEncoderSettings
from stages.teacher.encoders.hf_checkpoint import WEIGHTS
from stages.teacher.encoders.hf_text import TransformersText
from tests.tiny_encoders import WORDS, build_bert, build_clip, build_siglip, change_json, write_json

BUILDERS: dict[str, Callable[[Path], Path]] = {"clip": build_clip, "siglip": build_siglip, "bert": build_bert}
TEXTS = ["a horse", "man", "the dog jumps over a bike in the park while a man rides"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per family; tests read them only."""
    root = tmp_path_factory.mktemp("models")
    for name, build in BUILDERS.items():
        build(root / name)
    return root


@pytest.fixture
def bert(models: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(models / "bert", tmp_path / "bert"))


def settings(folder: Path, **fields: Any) -> TextEncoderSettings:
    return TextEncoderSettings(source="transformers", model=str(folder), device="cpu", **fields)


def unit(vectors: torch.Tensor) -> Floats:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def ids_of(encoder: TransformersText, text: str, length: int = 0) -> torch.Tensor:
    """[1, L] ids by the tokenizer alone, padded to `length` where given."""
    padding = {"padding": "max_length"} if length else {}
    limits = {"truncation": True, "max_length": length or encoder.max_tokens}
    ids: torch.Tensor = encoder._tokenizer(text, return_tensors="pt", **limits, **padding)["input_ids"]
    return ids


def test_clip_gives_last_hidden_states_and_the_projected_end_token(models: Path) -> None:
    encoder: TextEncoder = TransformersText(settings(models / "clip"))
    assert (encoder.dim, encoder.pooled_dim, encoder.max_tokens) == (16, 10, 12)
    encoded = encoder.encode(TEXTS)
    whole = CLIPModel.from_pretrained(models / "clip")
    assert isinstance(encoder, TransformersText)
    for i, text in enumerate(TEXTS):
        with torch.inference_mode():
            output = whole.get_text_features(ids_of(encoder, text))
        length = encoded.lengths[i]
        np.testing.assert_allclose(encoded.tokens[i, :length], output.last_hidden_state[0], atol=1e-5)
        np.testing.assert_allclose(encoded.pooled[i], unit(output.pooler_output)[0], atol=1e-5)


def test_clip_halves_of_their_own(models: Path, tmp_path: Path) -> None:
    plain = build_clip(tmp_path / "plain", model_class=CLIPTextModel)
    projected = build_clip(tmp_path / "projected", model_class=CLIPTextModelWithProjection)
    encoder, other = TransformersText(settings(plain)), TransformersText(settings(projected))
    assert (encoder.pooled_dim, other.pooled_dim) == (16, 10)
    with torch.inference_mode():
        ids = ids_of(encoder, TEXTS[0])
        states = CLIPTextModel.from_pretrained(plain)(ids).pooler_output
        embeds = CLIPTextModelWithProjection.from_pretrained(projected)(ids).text_embeds
    np.testing.assert_allclose(encoder.encode(TEXTS[:1]).pooled, unit(states), atol=1e-5)
    np.testing.assert_allclose(other.encode(TEXTS[:1]).pooled, unit(embeds), atol=1e-5)


def test_siglip_pads_every_text_to_the_length_it_was_trained_on(models: Path) -> None:
    encoder = TransformersText(settings(models / "siglip"))
    encoded = encoder.encode(TEXTS[:2])  # both short
    whole = SiglipModel.from_pretrained(models / "siglip")
    assert encoded.lengths.tolist() == [3, 2]
    assert encoded.tokens.shape == (2, 3, 16)
    for i, text in enumerate(TEXTS[:2]):
        with torch.inference_mode():
            output = whole.text_model(ids_of(encoder, text, 8))
        length = encoded.lengths[i]
        np.testing.assert_allclose(
            encoded.tokens[i, :length], output.last_hidden_state[0, :length], atol=1e-5
        )
        np.testing.assert_allclose(encoded.pooled[i], unit(output.pooler_output)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "name"),
    [
        (None, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        (
            {
                "pooling_mode_mean_tokens": False,
                "pooling_mode_cls_token": True,
                "word_embedding_dimension": 16,
            },
            "first",
        ),
        ({"pooling_mode": "cls"}, "first"),
    ],
)
def test_bert_pools_as_the_model_says_else_by_the_mean(bert: Path, pooling: Any, name: str) -> None:
    if pooling is not None:
        write_json(bert / "1_Pooling" / "config.json", pooling)
    encoder = TransformersText(settings(bert))
    encoded = encoder.encode(TEXTS)
    whole = BertModel.from_pretrained(bert, add_pooling_layer=False)
    for i, text in enumerate(TEXTS):
        with torch.inference_mode():
            hidden = whole(ids_of(encoder, text)).last_hidden_state[0]
        expected = hidden.mean(0) if name == "mean" else hidden[0]
        np.testing.assert_allclose(encoded.tokens[i, : encoded.lengths[i]], hidden, atol=1e-5)
        np.testing.assert_allclose(encoded.pooled[i], unit(expected), atol=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
def test_batches_do_not_change_a_text(models: Path, name: str) -> None:
    encoder = TransformersText(settings(models / name, batch_size=2))
    together = encoder.encode(TEXTS)
    for i, text in enumerate(TEXTS):
        alone = encoder.encode([text])
        length = alone.lengths[0]
        assert length == together.lengths[i]
        np.testing.assert_allclose(together.tokens[i, :length], alone.tokens[0], atol=1e-5)
        np.testing.assert_allclose(together.pooled[i], alone.pooled[0], atol=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
def test_shapes_lengths_and_zeros_past_the_end(models: Path, name: str) -> None:
    encoder = TransformersText(settings(models / name))
    encoded = encoder.encode([*TEXTS, ""])
    assert encoded.tokens.shape == (4, encoded.lengths.max(), encoder.dim)
    assert encoded.lengths.max() == encoder.max_tokens
    for tokens, length in zip(encoded.tokens, encoded.lengths, strict=True):
        assert np.abs(tokens[:length]).min(initial=1) > 0
        assert not tokens[length:].any()
    np.testing.assert_allclose(np.linalg.norm(encoded.pooled, axis=1), 1, atol=1e-5)
    empty = encoder.encode([])
    assert (empty.tokens.shape, empty.pooled.shape, empty.cut.shape) == (
        (0, 0, encoder.dim),
        (0, encoder.pooled_dim),
        (0,),
    )


def test_a_text_without_any_token_gets_zeros(bert: Path) -> None:
    change_json(bert / "tokenizer.json", post_processor=None)  # no [CLS] and [SEP] around the words
    change_json(bert / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    encoded = TransformersText(settings(bert)).encode(["", "a horse"])
    assert encoded.lengths.tolist() == [0, 2]
    assert not encoded.pooled[0].any()
    assert not encoded.tokens[0].any()
    assert np.linalg.norm(encoded.pooled[1]) == pytest.approx(1)


@hypothesis_settings(max_examples=25, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=20), room=st.integers(3, 10))
def test_kept_and_cut_tokens_are_all_the_words(models: Path, words: list[str], room: int) -> None:
    encoder = TransformersText(settings(models / "bert", max_tokens=room))
    kept, cut = encoder._tokenise([" ".join(words)])
    assert len(kept[0]) <= room
    assert len(kept[0]) - 2 + cut[0] == len(words)  # [CLS] and [SEP] are no words
    assert (cut[0] > 0) == (len(words) > room - 2)


@pytest.mark.parametrize(("name", "cut"), [("clip", 35), ("siglip", 6), ("bert", 5)])
def test_a_long_text_says_how_much_was_cut(models: Path, name: str, cut: int) -> None:
    encoder = TransformersText(settings(models / name))
    encoded = encoder.encode(["a horse", "the man jumps over the fence in the park while a dog runs"])
    assert encoded.cut.tolist() == [0, cut]
    ids, _ = encoder._tokenise(["the man jumps over the fence in the park while a dog runs"])
    if name != "siglip":
        assert ids[0][-1] in (encoder._tokenizer.eos_token_id, encoder._tokenizer.sep_token_id)


def test_max_tokens_stays_within_the_model(models: Path) -> None:
    assert TransformersText(settings(models / "bert", max_tokens=5)).encode(TEXTS).tokens.shape[1] == 5
    with pytest.raises(UserError, match=r"max_tokens 11 is more than .*bert can read: 10; lower it"):
        TransformersText(settings(models / "bert", max_tokens=11))
    with pytest.raises(UserError, match=r"max_tokens 2 leaves no room .* the 2 special tokens .* at least 3"):
        TransformersText(settings(models / "bert", max_tokens=2))


def test_the_limit_is_the_smallest_that_the_files_name(bert: Path) -> None:
    write_json(bert / "sentence_bert_config.json", {"max_seq_length": 7})
    assert TransformersText(settings(bert)).max_tokens == 7
    change_json(bert / "tokenizer_config.json", model_max_length=6)
    assert TransformersText(settings(bert)).max_tokens == 6


def test_roberta_counts_positions_after_its_padding(bert: Path) -> None:
    change_json(bert / "tokenizer_config.json", model_max_length=10**30)
    change_json(bert / "config.json", model_type="roberta", max_position_embeddings=514, pad_token_id=1)
    assert TransformersText(settings(bert)).max_tokens == 512


def test_published_clip_has_the_published_shapes(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "clip", tmp_path / "clip"))
    change_json(folder / "tokenizer_config.json", model_max_length=77)
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "eos_token_id": 2}
    write_json(folder / "config.json", {"model_type": "clip", "projection_dim": 768, "text_config": text})
    encoder = TransformersText(settings(folder))
    assert (encoder.max_tokens, encoder.dim, encoder.pooled_dim) == (77, 768, 768)


def _weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: weight * 1.01 for name, weight in weights.items()}, folder / WEIGHTS)


def _words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("horse", "house"))


def _pooling(folder: Path) -> None:
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})


@pytest.mark.parametrize("change", [_weights, _words, _pooling])
def test_identity_follows_what_decides_the_vectors(
    models: Path, bert: Path, change: Callable[[Path], None]
) -> None:
    before = TransformersText(settings(models / "bert", batch_size=3)).identity()
    assert TransformersText(settings(bert)).identity() == before
    assert TransformersText(settings(bert, max_tokens=9)).identity() != before
    assert TransformersText(settings(bert, precision="bf16")).identity() != before
    change(bert)
    assert TransformersText(settings(bert)).identity() != before


def test_nothing_reaches_stdout(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_file({**load_file(bert / WEIGHTS), "cls.predictions.bias": torch.ones(1)}, bert / WEIGHTS)
    TransformersText(settings(bert)).encode(TEXTS)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _encoder_decoder(folder: Path) -> None:
    change_json(folder / "config.json", model_type="t5", is_encoder_decoder=True)


def _picture_model(folder: Path) -> None:
    write_json(folder / "config.json", {"model_type": "clip_vision_model"})


def _vit(folder: Path) -> None:
    write_json(folder / "config.json", {"model_type": "vit"})


def _unknown(folder: Path) -> None:
    change_json(folder / "config.json", model_type="no_such_thing")


def _dense(folder: Path) -> None:
    write_json(folder / "modules.json", [{"type": "sentence_transformers.models.Dense"}])


def _max_pooling(folder: Path) -> None:
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True})


def _no_limit(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", model_max_length=10**30)
    change_json(folder / "config.json", max_position_embeddings=10**6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_tokenizer, r"has no tokenizer \(none of tokenizer\.json, .*copy the tokenizer's files"),
        (_broken_tokenizer, r"the tokenizer of .* cannot be read \(.*download the model again"),
        (_encoder_decoder, r"\('t5'\) is an encoder-decoder, which makes no text tokens here"),
        (_picture_model, r"\('clip_vision_model'\) is a vision model, which makes no text tokens here"),
        (_vit, r"\('vit'\) has no vocabulary, so it reads no text"),
        (_unknown, r"cannot be loaded as a text encoder \(.*no_such_thing.*trust_remote_code: true"),
        (_dense, r"ends in a Dense module, which is not applied here"),
        (_max_pooling, r"pools by max_tokens \(1_Pooling/config\.json\); mean and cls can be computed"),
        (_no_limit, r"names no longest text; set max_tokens, for example to 512"),
    ],
)
def test_what_is_no_text_encoder_is_named_at_once(
    bert: Path, change: Callable[[Path], None], message: str
) -> None:
    change(bert)
    with pytest.raises(UserError, match=message):
        TransformersText(settings(bert))


@pytest.mark.skipif(
    importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed"
)
def test_a_tokenizer_that_needs_sentencepiece_says_so(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "siglip", tmp_path / "siglip"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    (folder / "spiece.model").write_bytes(b"\n")
    with pytest.raises(
        UserError, match=r"needs a package that is not installed .*`pip install sentencepiece"
    ):
        TransformersText(settings(folder))


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _fewer_tensors(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / WEIGHTS)


def _small_vocabulary(folder: Path) -> None:
    change_json(folder / "config.json", vocab_size=6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_pickled, r"only as pickles \(pytorch_model\.bin\)"),
        (
            _fewer_tensors,
            r"lacks 1 of its own tensors \(for example encoder\.layer\.1\.output\.dense\.weight\)",
        ),
        (
            _small_vocabulary,
            r"gives token \d+, but the model knows 6; the tokenizer belongs to another model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    bert: Path, change: Callable[[Path], None], message: str
) -> None:
    change(bert)
    with pytest.raises(UserError, match=message):
        TransformersText(settings(bert)).encode(TEXTS)


def test_a_missing_projection_is_refused(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "clip", tmp_path / "clip"))
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, "text_projection.weight": torch.ones(3, 16)}, folder / WEIGHTS)
    with pytest.raises(
        UserError, match=r"text_projection\.weight of .* is \[3, 16\], .* promises \[10, 16\]"
    ):
        TransformersText(settings(folder)).encode(TEXTS)
    del weights["text_projection.weight"]
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(
        UserError, match=r"lacks 1 of its own tensors \(for example text_projection\.weight\)"
    ):
        TransformersText(settings(folder)).encode(TEXTS)


OWN_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

print("own code runs")


class OwnConfig(PretrainedConfig):
    model_type = "own"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return BaseModelOutput(last_hidden_state=self.table(input_ids))
"""


def test_own_code_of_a_model_runs_only_where_a_setting_says_so(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (bert / "own.py").write_text(OWN_CODE)
    write_json(
        bert / "config.json",
        {
            "model_type": "own",
            "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"},
            "hidden_size": 4,
            "vocab_size": 30,
        },
    )
    table = torch.randn(30, 4)
    save_file({"table.weight": table}, bert / WEIGHTS)
    with pytest.raises(UserError, match=r"cannot be loaded as a text encoder .*trust_remote_code: true"):
        TransformersText(settings(bert))
    encoder = TransformersText(settings(bert, trust_remote_code=True))
    np.testing.assert_allclose(
        encoder.encode(["horse"]).tokens[0, 1], table[encoder._tokenise(["horse"])[0][0][1]]
    )
    assert capfd.readouterr().out == ""
    before = encoder.identity()
    (bert / "own.py").write_text(OWN_CODE + "# changed\n")
    assert TransformersText(settings(bert, trust_remote_code=True)).identity() != before

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import (
    Blip2ForConditionalGeneration,
    CLIPModel,
    CLIPVisionModel,
    SiglipModel,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from cache.errors import MachineError, UserError
from stages.data.geometry import Geometry
from stages.teacher.encoders.encoder import VisionEncoder
from stages.teacher.encoders.encoder_settings import VisionEncoderSettings
from stages.teacher.encoders.hf_checkpoint import INDEX, WEIGHTS
from stages.teacher.encoders.hf_vision import TransformersVision
from tests.tiny_encoders import (
    MEAN,
    QWEN_CLASSES,
    STD,
    build_blip2,
    build_clip,
    build_qwen,
    build_siglip,
    change_json,
    write_json,
)

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "clip": build_clip,
    "siglip": build_siglip,
    "blip2": build_blip2,
}
CLASSES: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel, "blip2": Blip2ForConditionalGeneration}
FRAMES = np.random.RandomState(0).randint(0, 256, (5, 24, 24, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per family; tests read them only."""
    root = tmp_path_factory.mktemp("models")
    for name, build in BUILDERS.items():
        build(root / name)
    return root


@pytest.fixture
def clip(models: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(models / "clip", tmp_path / "clip"))


def settings(folder: Path, **fields: Any) -> VisionEncoderSettings:
    return VisionEncoderSettings(source="transformers", model=str(folder), device="cpu", **fields)


def by_hand(model: Any, frames: NDArray[np.uint8], **options: Any) -> Any:
    """The vision tower of the whole model on pixels normalised here."""
    pixels = ((frames / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return model.vision_model(torch.tensor(pixels, dtype=torch.float32), **options)


@pytest.mark.parametrize(("name", "class_tokens"), [("clip", 1), ("siglip", 0), ("blip2", 1)])
def test_tokens_are_those_of_the_whole_model(models: Path, name: str, class_tokens: int) -> None:
    encoder: VisionEncoder = TransformersVision(settings(models / name))
    tokens = encoder.encode(FRAMES)
    expected = by_hand(CLASSES[name].from_pretrained(models / name), FRAMES).last_hidden_state
    assert tokens.dtype == np.float32
    assert tokens.shape == (5, encoder.geometry.tokens, encoder.dim)
    assert (encoder.geometry.class_tokens, encoder.geometry.tokens) == (class_tokens, 9 + class_tokens)
    np.testing.assert_allclose(tokens, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("layer", [-2, -3])
def test_an_earlier_layer_is_that_hidden_state(models: Path, layer: int) -> None:
    tokens = TransformersVision(settings(models / "clip", layer=layer)).encode(FRAMES)
    states = by_hand(
        CLIPModel.from_pretrained(models / "clip"), FRAMES, output_hidden_states=True
    ).hidden_states
    np.testing.assert_allclose(tokens, states[layer].numpy(), atol=1e-5)


def test_a_layer_below_the_embeddings_is_refused(models: Path) -> None:
    with pytest.raises(
        UserError, match=r"layer -4 .* has 2 layers, so -1 \(the last\) to -3 \(the embeddings\)"
    ):
        TransformersVision(settings(models / "clip", layer=-4))


def test_batches_do_not_change_a_picture(models: Path) -> None:
    encoder = TransformersVision(settings(models / "blip2", batch_size=2))
    alone = np.concatenate([encoder.encode(FRAMES[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(encoder.encode(FRAMES), alone, atol=1e-5)
    assert encoder.encode(FRAMES[:0]).shape == (0, 10, 16)


def test_a_lone_tower_equals_the_whole_model(models: Path, tmp_path: Path) -> None:
    CLIPModel.from_pretrained(models / "clip").vision_model.save_pretrained(tmp_path)
    shutil.copy(models / "clip" / "preprocessor_config.json", tmp_path)
    assert isinstance(CLIPVisionModel.from_pretrained(tmp_path), CLIPVisionModel)
    tokens = TransformersVision(settings(tmp_path)).encode(FRAMES)
    np.testing.assert_array_equal(tokens, TransformersVision(settings(models / "clip")).encode(FRAMES))


def test_tensors_of_older_versions_do_not_disturb(clip: Path) -> None:
    before = TransformersVision(settings(clip)).encode(FRAMES)
    extra = {
        "vision_model.embeddings.position_ids": torch.arange(10)
    }  # in checkpoints of transformers < 4.31
    save_file({**load_file(clip / WEIGHTS), **extra}, clip / WEIGHTS)
    np.testing.assert_array_equal(TransformersVision(settings(clip)).encode(FRAMES), before)


@pytest.mark.parametrize("corrupt", [Path.unlink, lambda path: path.write_bytes(b"no weights")])
def test_blip2_reads_the_tower_alone(models: Path, tmp_path: Path, corrupt: Callable[[Path], Any]) -> None:
    folder = Path(shutil.copytree(models / "blip2", tmp_path / "blip2"))
    files = json.loads((folder / INDEX).read_text())["weight_map"]
    of_tower = {file for name, file in files.items() if name.startswith("vision_model.")}
    rest = set(files.values()) - of_tower
    assert {file for name, file in files.items() if name.startswith("language_model.")} <= rest
    for file in rest:
        corrupt(folder / file)
    encoder = TransformersVision(settings(folder))
    expected = TransformersVision(settings(models / "blip2"))
    np.testing.assert_array_equal(encoder.encode(FRAMES), expected.encode(FRAMES))
    assert encoder.identity() == expected.identity()
    assert encoder._model is not None
    assert not [
        name for name, _ in encoder._model.named_parameters() if "language" in name or "qformer" in name
    ]


def test_the_frame_ends_where_the_patches_end(tmp_path: Path) -> None:
    folder = build_siglip(tmp_path, image_size=30)
    encoder = TransformersVision(settings(folder))
    assert (encoder.geometry.size, encoder.geometry.rows) == (24, 3)
    frames = np.zeros((5, 30, 30, 3), np.uint8)
    frames[:, :24, :24] = FRAMES
    expected = by_hand(SiglipModel.from_pretrained(folder), frames).last_hidden_state
    np.testing.assert_allclose(encoder.encode(FRAMES), expected.numpy(), atol=1e-5)


def test_a_frame_of_another_size_is_our_own_mistake(models: Path) -> None:
    with pytest.raises(AssertionError):
        TransformersVision(settings(models / "clip")).encode(np.zeros((1, 30, 30, 3), np.uint8))


def test_half_precision_stays_near(models: Path) -> None:
    full, half = (TransformersVision(settings(models / "clip", precision=p)) for p in ("fp32", "bf16"))
    difference = np.abs(full.encode(FRAMES) - half.encode(FRAMES))
    assert 0 < difference.mean() < 0.05
    assert half.encode(FRAMES).dtype == np.float32
    assert full.identity() != half.identity()


def test_pixel_statistics_come_from_the_model_else_from_the_family(clip: Path) -> None:
    def statistics() -> tuple[Any, Any]:
        identity = TransformersVision(settings(clip)).identity()
        return identity["mean"], identity["std"]

    assert statistics() == (MEAN, STD)
    (clip / "preprocessor_config.json").unlink()
    assert statistics() == ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    write_json(
        clip / "processor_config.json", {"image_processor": {"image_mean": [0, 0, 0], "image_std": STD}}
    )
    assert statistics() == ([0, 0, 0], STD)


def test_identity_follows_what_decides_the_tokens(models: Path, clip: Path) -> None:
    base = TransformersVision(settings(clip)).identity()
    assert TransformersVision(settings(models / "clip", batch_size=7)).identity() == base
    for fields in ({"layer": -2}, {"mode": "crop"}, {"precision": "bf16"}):
        assert TransformersVision(settings(clip, **fields)).identity() != base
    weights = load_file(clip / WEIGHTS)
    save_file({**weights, "text_projection.weight": weights["text_projection.weight"] + 1}, clip / WEIGHTS)
    assert TransformersVision(settings(clip)).identity() == base
    tuned = weights["vision_model.encoder.layers.1.mlp.fc1.weight"] * 1.001
    save_file({**weights, "vision_model.encoder.layers.1.mlp.fc1.weight": tuned}, clip / WEIGHTS)
    assert TransformersVision(settings(clip)).identity() != base


def test_nothing_reaches_stdout(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = load_file(clip / WEIGHTS)
    save_file({**weights, "vision_model.unknown": torch.ones(1)}, clip / WEIGHTS)
    TransformersVision(settings(clip)).encode(FRAMES)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


# From the published config.json files, with some of the left-overs of old versions that these carry.
PUBLISHED = {
    "clip-vit-large-patch14-336": (
        {
            "model_type": "clip",
            "projection_dim": 768,
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
                "projection_dim": 768,
                "dropout": 0.0,
                "initializer_factor": 1.0,
                "num_beams": 1,
                "torch_dtype": None,
            },
        },
        (336, 577, 1024),
    ),
    # Its config.json names few fields of the tower; the rest are the defaults of transformers.
    "blip2-opt-2.7b": (
        {
            "model_type": "blip-2",
            "vision_config": {"model_type": "blip_2_vision_model", "dropout": 0.0, "num_channels": 3},
        },
        (224, 257, 1408),
    ),
    "siglip-so400m-patch14-384": (
        {
            "model_type": "siglip",
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "image_size": 384,
                "patch_size": 14,
            },
        },
        (378, 729, 1152),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_published_shapes(tmp_path: Path, name: str) -> None:
    config, expected = PUBLISHED[name]
    write_json(tmp_path / "config.json", config)
    encoder = TransformersVision(settings(tmp_path))
    assert (encoder.geometry.size, encoder.geometry.tokens, encoder.dim) == expected


def _type(folder: Path) -> None:
    change_json(folder / "config.json", model_type="vit_mae")


def _size(folder: Path) -> None:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    change_json(folder / "config.json", vision_config={**vision, "image_size": [24, 32]})


def _text(folder: Path) -> None:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    change_json(folder / "config.json", vision_config={**vision, "hidden_size": "wide"})


def _mean(folder: Path) -> None:
    write_json(folder / "preprocessor_config.json", {"image_mean": [0.5]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_type, r"is a 'vit_mae' model, whose vision tower this version cannot read; known: clip, .*blip-2"),
        (_size, r"image_size of .* is \[24, 32\]; only square frames"),
        (_text, r"config\.json of .* is not a valid CLIPVisionConfig .*hidden_size"),
        (_mean, r"image_mean of .* is \[0\.5\], not three numbers for red, green and blue"),
    ],
)
def test_what_the_config_cannot_mean_is_named_at_once(
    clip: Path, change: Callable[[Path], None], message: str
) -> None:
    change(clip)
    with pytest.raises(UserError, match=message):
        TransformersVision(settings(clip))


def _fewer_tensors(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(weights, folder / WEIGHTS)


def _other_shapes(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, "vision_model.encoder.layers.1.mlp.fc1.weight": torch.ones(3, 3)}, folder / WEIGHTS)


def _text_only(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({n: w for n, w in weights.items() if not n.startswith("vision_model.")}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_fewer_tensors, r"lacks 1 of its own tensors \(for example encoder\.layers\.1\.mlp\.fc1\.weight\)"),
        (_other_shapes, r"do not have the shapes its config\.json promises"),
        (
            _text_only,
            r"has 0 tensors named \.\.\.embeddings\.patch_embedding\.weight.*vision tower has exactly one",
        ),
    ],
)
def test_weights_that_do_not_fill_the_tower_are_refused(
    clip: Path, change: Callable[[Path], None], message: str
) -> None:
    change(clip)
    with pytest.raises(UserError, match=message):
        TransformersVision(settings(clip)).encode(FRAMES)


def without_memory_above(encoder: TransformersVision, most: int) -> list[int]:
    """Has the encoder's model raise what torch raises on a GPU; returns the sizes of all batches it saw."""
    encoder.encode(FRAMES[:1])
    model, sizes = encoder._model, []
    assert model is not None

    def limited(frames_first: torch.nn.Module, args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["pixel_values"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    model.register_forward_pre_hook(limited, with_kwargs=True)
    return sizes


def test_a_batch_that_does_not_fit_is_halved_and_said_so(models: Path) -> None:
    said: list[str] = []
    expected = TransformersVision(settings(models / "clip")).encode(FRAMES)
    encoder = TransformersVision(settings(models / "clip", batch_size=5), said.append)
    sizes = without_memory_above(encoder, 1)
    np.testing.assert_allclose(encoder.encode(FRAMES), expected, atol=1e-5)
    assert sizes == [5, 2, 1, 1, 1, 1, 1]
    assert encoder.batch_size == 1
    assert [line.rpartition("; ")[2] for line in said] == [
        "going on with batches of 2",
        "going on with batches of 1",
    ]
    assert "ran out of memory at a batch of 5 (CUDA out of memory. Tried to allocate 2.00 GiB.)" in said[0]


def test_a_device_without_room_for_one_picture_ends_it(models: Path) -> None:
    encoder = TransformersVision(settings(models / "clip"))
    without_memory_above(encoder, 0)
    with pytest.raises(MachineError, match=r"out of memory at a batch of one .*everything finished .*kept"):
        encoder.encode(FRAMES)


def test_a_closed_encoder_holds_no_weights_and_opens_again(models: Path) -> None:
    encoder = TransformersVision(settings(models / "clip"))
    before = encoder.encode(FRAMES)
    assert encoder._model is not None
    weights = weakref.ref(next(encoder._model.parameters()))
    encoder.close()
    assert weights() is None
    np.testing.assert_array_equal(encoder.encode(FRAMES), before)


# --- Qwen-VL: a picture of any size, here in one frame for all ----------------------------------------

QWEN_FRAMES = np.random.RandomState(1).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", QWEN_CLASSES)
def test_qwen_gives_what_its_language_model_is_given(tmp_path: Path, kind: str) -> None:
    """Against the whole model on what the family's own processor makes of the same frames."""
    folder = build_qwen(tmp_path, kind)
    encoder = TransformersVision(settings(folder, size=32))
    assert encoder.geometry == Geometry(32, "stretch", rows=4, cols=4, class_tokens=0)
    processor = Qwen2VLImageProcessorPil(
        patch_size=4, image_mean=MEAN, image_std=STD, min_pixels=16, max_pixels=10**6
    )
    inputs = processor(list(QWEN_FRAMES), return_tensors="pt")
    assert inputs["image_grid_thw"].tolist() == [[1, 8, 8]] * 3
    model = QWEN_CLASSES[kind].from_pretrained(folder)
    with torch.inference_mode():
        found = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    tokens = encoder.encode(QWEN_FRAMES)
    assert tokens.shape == (3, 16, encoder.dim) == (3, 16, 20)
    np.testing.assert_allclose(tokens.reshape(48, 20), found.pooler_output.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", QWEN_CLASSES)
def test_qwen_tokens_are_in_the_places_the_geometry_says(tmp_path: Path, kind: str) -> None:
    """What is painted into one cell of the grid changes that cell's token most."""
    encoder = TransformersVision(settings(build_qwen(tmp_path, kind), size=32))
    plain = np.full((1, 32, 32, 3), 128, np.uint8)
    painted = plain.copy()
    row, col = 1, 2
    painted[0, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8] = (255, 0, 60)
    change = np.abs(encoder.encode(painted) - encoder.encode(plain)).mean(-1)[0]
    assert divmod(int(change.argmax()), 4) == (row, col)


def test_qwen_frames_are_whole_merged_patches(tmp_path: Path) -> None:
    folder = build_qwen(tmp_path, "qwen2_5_vl")
    assert TransformersVision(settings(folder)).geometry.size == 448
    with pytest.raises(UserError, match=r"size 30 does not fit .* 8 pixels a side; set size to 24 or"):
        TransformersVision(settings(folder, size=30))
    with pytest.raises(UserError, match=r"layer -2 of .* not merged yet; only -1"):
        TransformersVision(settings(folder, layer=-2))


def test_a_size_the_model_was_not_trained_on_is_refused(models: Path) -> None:
    with pytest.raises(UserError, match=r"size 48 is not the frame of .*sees 24 pixels .*leave size at 0"):
        TransformersVision(settings(models / "clip", size=48))

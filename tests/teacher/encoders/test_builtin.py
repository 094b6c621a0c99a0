"""The encoders without weights: shapes, repeatability, what their vectors say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cache.errors import UserError
from cache.keys import fingerprint
from stages.teacher.encoders.builtin_text import BuiltinText
from stages.teacher.encoders.builtin_vision import BuiltinVision

SMALL = {"size": 64, "grid": 8, "dim": 96, "width": 32}


@pytest.fixture(scope="module")
def vision() -> BuiltinVision:
    return BuiltinVision(size=64, grid=8, dim=96, width=32)


@pytest.fixture(scope="module")
def text() -> BuiltinText:
    return BuiltinText(dim=64, pooled_dim=128)


def noise(pictures: int, size: int = 64) -> NDArray[np.uint8]:
    return np.random.RandomState(0).randint(0, 256, (pictures, size, size, 3)).astype(np.uint8)


def spot(x: int, y: int, color: tuple[int, int, int] = (220, 30, 30)) -> NDArray[np.uint8]:
    """A white frame with one disc of 12 pixels at x, y."""
    picture = Image.new("RGB", (64, 64), (255, 255, 255))
    ImageDraw.Draw(picture).ellipse((x - 6, y - 6, x + 6, y + 6), fill=color)
    return np.asarray(picture, dtype=np.uint8)


# ---------------------------------------------------------------------------------------------- pictures


def test_tokens_have_the_shape_the_geometry_says(vision: BuiltinVision) -> None:
    tokens = vision.encode(noise(3))
    assert tokens.shape == (3, vision.geometry.tokens, vision.dim) == (3, 65, 96)
    assert tokens.dtype == np.float32
    assert np.isfinite(tokens).all()
    assert vision.encode(noise(0)).shape == (0, 65, 96)


def test_a_picture_has_the_same_bytes_in_any_batch(vision: BuiltinVision) -> None:
    frames = noise(5)
    together = vision.encode(frames)
    alone = np.concatenate([vision.encode(frames[i : i + 1]) for i in range(5)])
    assert together.tobytes() == alone.tobytes()


def test_a_second_encoder_gives_the_same_bytes(vision: BuiltinVision) -> None:
    again = BuiltinVision(size=64, grid=8, dim=96, width=32)
    assert again.encode(noise(2)).tobytes() == vision.encode(noise(2)).tobytes()


def test_a_blank_picture_has_finite_tokens(vision: BuiltinVision) -> None:
    for value in (0, 255):
        assert np.isfinite(vision.encode(np.full((1, 64, 64, 3), value, dtype=np.uint8))).all()


def test_variants_are_two_views_of_one_picture(vision: BuiltinVision) -> None:
    other = BuiltinVision(size=64, grid=8, dim=96, width=32, variant="student")
    first, second = vision.encode(noise(1))[0, 0], other.encode(noise(1))[0, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
    assert fingerprint(dict(vision.identity())) != fingerprint(dict(other.identity()))


@pytest.mark.parametrize(
    "change", [{"size": 128}, {"grid": 4}, {"dim": 64}, {"width": 16}, {"mode": "pad"}, {"flip": True}]
)
def test_identity_names_everything_that_decides_the_bytes(
    vision: BuiltinVision, change: dict[str, object]
) -> None:
    other = BuiltinVision(**{**SMALL, **change})  # type: ignore[arg-type]
    assert fingerprint(dict(other.identity())) != fingerprint(dict(vision.identity()))
    assert vision.identity()["version"] == 1


def test_patch_tokens_say_where_they_are(vision: BuiltinVision) -> None:
    """In a picture that is the same everywhere, a patch's row and column can still be read off linearly."""
    grey = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    patches = vision.encode(grey)[0, 1:]
    row, column = np.divmod(np.arange(64), 8)
    design = np.concatenate([patches, np.ones((64, 1), dtype=np.float32)], axis=1)
    for place in (row, column):
        weights = np.linalg.lstsq(design, place, rcond=None)[0]
        assert np.abs(design @ weights - place).max() < 0.1


def test_patch_tokens_say_what_is_there(vision: BuiltinVision) -> None:
    """The patches that change when a disc appears are those under it and their neighbours."""
    empty = np.full((1, 64, 64, 3), 255, dtype=np.uint8)
    change = np.abs(vision.encode(spot(20, 44)[None]) - vision.encode(empty))[0, 1:].sum(1).reshape(8, 8)
    row, column = np.unravel_index(change.argmax(), (8, 8))
    assert abs(row - 44 // 8) <= 1
    assert abs(column - 20 // 8) <= 1
    assert change[0].sum() == 0
    assert change[:, 7].sum() == 0


def test_the_class_token_is_the_same_for_a_picture_and_its_mirror_image(vision: BuiltinVision) -> None:
    frames = noise(2)
    plain, mirrored = vision.encode(frames), vision.encode(np.ascontiguousarray(frames[:, :, ::-1]))
    assert np.allclose(plain[:, 0], mirrored[:, 0], atol=1e-3)
    assert not np.allclose(plain[:, 1:], mirrored[:, 1:], atol=1e-1)


def test_the_class_token_tells_high_from_low_but_not_left_from_right(vision: BuiltinVision) -> None:
    """Columns are pooled, so a shift along a row by whole blocks changes nothing; a shift down does."""
    at, beside, below = vision.encode(np.stack([spot(20, 20), spot(40, 20), spot(20, 40)]))[:, 0]
    assert np.linalg.norm(at - beside) < 0.05 * np.linalg.norm(at - below)


def test_colours_differ_in_the_class_token(vision: BuiltinVision) -> None:
    red, again, blue = vision.encode(np.stack([spot(20, 20), spot(40, 20), spot(20, 20, (30, 30, 220))]))[
        :, 0
    ]
    assert np.linalg.norm(red - again) < 0.1 * np.linalg.norm(red - blue)


def test_tokens_are_of_ordinary_size() -> None:
    """Centred and scaled on generic pictures, so that a linear layer can start from them as they are."""
    encoder = BuiltinVision(size=64, grid=8, dim=128)
    rng = np.random.RandomState(1)
    frames = np.stack([
        spot(int(rng.randint(64)), int(rng.randint(64)), tuple(rng.randint(0, 256, 3).tolist()))
        for _ in range(8)
    ])  # fmt: skip
    tokens = encoder.encode(frames)
    assert 0.2 < tokens[:, 0].std() < 4
    assert 0.2 < tokens[:, 1:].std() < 4


@pytest.mark.parametrize(("size", "grid"), [(100, 8), (64, 3), (32, 8)])
def test_a_size_that_does_not_fit_the_grid_is_refused(size: int, grid: int) -> None:
    with pytest.raises(
        UserError, match=f"size {size} does not fit a grid of {grid}: .* try size {grid * 16}"
    ):
        BuiltinVision(size=size, grid=grid)


def test_a_width_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="dim 16 is too small, 32 is the least"):
        BuiltinVision(dim=16)


# ------------------------------------------------------------------------------------------------- texts


def pooled(encoder: BuiltinText, *texts: str) -> NDArray[np.float32]:
    return encoder.encode(texts).pooled


def test_shared_words_show_in_the_dot_product(text: BuiltinText) -> None:
    base, near, far = pooled(
        text, "a dog jumps over the fence", "a cat jumps over the fence", "two men play chess"
    )
    assert base @ near > 0.5
    assert abs(base @ far) < 0.3
    assert base @ near > base @ far + 0.3


def test_forms_of_one_word_are_near(text: BuiltinText) -> None:
    jump, jumping, swim = pooled(text, "jump", "jumping", "swim")
    assert jump @ jumping > 0.2
    assert abs(jump @ swim) < 0.2


def test_function_words_count_little(text: BuiltinText) -> None:
    plain, wordy, other = pooled(text, "dog fence", "the dog at the fence", "the cat at the table")
    assert plain @ wordy > 0.9
    assert wordy @ other < 0.5


def test_case_order_and_punctuation_do_not_count(text: BuiltinText) -> None:
    first, second = pooled(text, "Dog, fence!", "fence dog")
    assert np.allclose(first, second, atol=1e-6)


def test_a_hyphen_parts_words(text: BuiltinText) -> None:
    first, second = pooled(text, "jumping-over_fence", "jumping over fence")
    assert np.allclose(first, second, atol=1e-6)


def test_tokens_past_the_limit_are_cut_and_counted() -> None:
    encoder = BuiltinText(dim=16, pooled_dim=16, max_tokens=4)
    encoded = encoder.encode(["one two three four five six", "one two", ""])
    assert encoded.tokens.shape == (3, 4, 16)
    assert encoded.lengths.tolist() == [4, 2, 1]
    assert encoded.cut.tolist() == [2, 0, 0]
    assert (encoded.tokens[1, 2:] == 0).all()
    assert (np.linalg.norm(encoded.tokens[1, :2], axis=1) > 0).all()


def test_no_texts_give_no_rows(text: BuiltinText) -> None:
    encoded = text.encode([])
    assert encoded.tokens.shape == (0, 0, 64)
    assert encoded.pooled.shape == (0, 128)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_has_unit_vectors_that_its_batch_does_not_change(texts: list[str]) -> None:
    encoder = BuiltinText(dim=8, pooled_dim=8, max_tokens=5)
    together = encoder.encode(texts)
    assert np.allclose(np.linalg.norm(together.pooled, axis=1), 1, atol=1e-5)
    for i, alone in enumerate(encoder.encode([one]) for one in texts):
        assert alone.pooled.tobytes() == together.pooled[i : i + 1].tobytes()
        length = int(together.lengths[i])
        assert alone.tokens.tobytes() == together.tokens[i : i + 1, :length].tobytes()
        assert (together.tokens[i, length:] == 0).all()


def test_another_process_gives_the_same_text_vectors(text: BuiltinText) -> None:
    """Python's own hash of a string differs from process to process; these vectors must not."""
    code = (
        "from stages.teacher.encoders.builtin_text import BuiltinText; import sys; "
        "sys.stdout.write(BuiltinText(dim=64, pooled_dim=128).encode(['a dog runs']).pooled.tobytes().hex())"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == pooled(text, "a dog runs").tobytes().hex()


def test_text_identity_names_everything_that_decides_the_bytes(text: BuiltinText) -> None:
    same = {"dim": 64, "pooled_dim": 128, "max_tokens": 77, "variant": "text"}
    assert BuiltinText(**same).identity() == text.identity()  # type: ignore[arg-type]
    for name, value in {"dim": 32, "pooled_dim": 64, "max_tokens": 5, "variant": "b"}.items():
        assert BuiltinText(**{**same, name: value}).identity() != text.identity()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dim", "pooled_dim", "max_tokens"])
def test_a_text_size_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0, but must be at least 1"):
        BuiltinText(**{name: 0})  # type: ignore[arg-type]

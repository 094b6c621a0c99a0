"""Every storage type gives back what it was given, up to its own rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from cache.codec import STORAGE_TYPES, StorageType, decode, encode, encoded_size

Floats = NDArray[np.float32]

SHAPES = array_shapes(min_dims=1, max_dims=3, max_side=6)
LARGEST_BF16 = 255 * 2.0**120
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
WITHIN_BF16 = st.floats(-LARGEST_BF16, LARGEST_BF16, width=32)
WITHIN_INT8 = st.floats(-(2.0**127), 2.0**127, width=32)
WITHIN_FP16 = st.floats(-65504, 65504, width=32)
TINY = float(np.finfo(np.float32).tiny)


def round_trip(tokens: Floats, storage: StorageType) -> Floats:
    return decode(encode(tokens, storage), tokens.shape, storage)


@given(arrays(np.float32, SHAPES, elements=ANY))
def test_fp32_is_exact_to_the_bit(tokens: Floats) -> None:
    assert round_trip(tokens, "fp32").tobytes() == tokens.tobytes()


@given(arrays(np.float32, SHAPES, elements=WITHIN_BF16))
def test_bf16_rounds_as_torch_does_to_the_bit(tokens: Floats) -> None:
    expected = torch.from_numpy(tokens).to(torch.bfloat16).to(torch.float32).numpy()
    assert round_trip(tokens, "bf16").tobytes() == expected.tobytes()


def test_bf16_rounds_ties_to_even() -> None:
    """Halfway between two neighbours, the one with an even last bit."""
    tokens = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8], np.float32)
    assert round_trip(tokens, "bf16").tolist() == [1.0, 1 + 2**-6, -1.0]


@given(arrays(np.float32, SHAPES, elements=WITHIN_FP16))
def test_fp16_rounds_as_numpy_does(tokens: Floats) -> None:
    assert round_trip(tokens, "fp16").tobytes() == tokens.astype(np.float16).astype(np.float32).tobytes()


@given(arrays(np.float32, SHAPES, elements=WITHIN_INT8))
def test_int8_is_within_half_a_step_of_its_own_token(tokens: Floats) -> None:
    """A step is a 127th of the token's largest value; a token of less than 127 smallest numbers is 0."""
    flat = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    error = np.abs(round_trip(tokens, "int8").reshape(flat.shape) - flat)
    step = np.abs(flat).max(axis=1, keepdims=True) / 127
    assert (error <= np.maximum(step * (0.5 + 1e-4), 127 * TINY)).all()


def test_int8_keeps_a_scale_for_each_token() -> None:
    """One large token must not flatten the others."""
    tokens = np.array([[1000.0, -1000.0], [0.001, 0.0005], [0.0, 0.0]], np.float32)
    decoded = round_trip(tokens, "int8")
    assert decoded[0].tolist() == pytest.approx([1000.0, -1000.0])
    assert decoded[1].tolist() == pytest.approx([0.001, 0.0005], rel=0.01)
    assert decoded[2].tolist() == [0.0, 0.0]


def test_int8_does_not_wrap_around_where_the_scale_is_not_a_normal_number() -> None:
    tokens = np.array([[178 * 2.0**-149, 0.0]], np.float32)
    assert round_trip(tokens, "int8").tolist() == [[0.0, 0.0]]


@given(st.sampled_from(STORAGE_TYPES), SHAPES)
def test_the_size_is_known_beforehand(storage: StorageType, shape: tuple[int, ...]) -> None:
    tokens = np.ones(shape, np.float32)
    assert len(encode(tokens, storage)) == encoded_size(tokens.size // shape[-1], shape[-1], storage)


def test_sizes_of_a_real_bank() -> None:
    sizes = {storage: encoded_size(577, 1024, storage) for storage in STORAGE_TYPES}
    assert sizes == {"fp32": 2363392, "fp16": 1181696, "bf16": 1181696, "int8": 590848 + 4 * 577}


@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_what_is_decoded_may_be_changed(storage: StorageType) -> None:
    """Training makes tensors of it without a copy."""
    data = encode(np.ones((2, 3), np.float32), storage)
    decoded = decode(memoryview(data), (2, 3), storage)
    decoded += 1
    assert decoded.tolist() == [[2.0] * 3] * 2
    assert decode(data, (2, 3), storage).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("storage", STORAGE_TYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(storage: StorageType, value: float) -> None:
    tokens = np.array([[1.0, value]], np.float32)
    with pytest.raises(ValueError, match=r"^an encoder gave a value that is not finite \(NaN or infinity\)$"):
        encode(tokens, storage)


@pytest.mark.parametrize(
    ("storage", "value", "message"),
    [
        ("fp16", -65536.0, "value 65536 is beyond fp16's 65504; store this bank as bf16"),
        ("bf16", 3.4e38, r"value 3.4e\+38 is beyond bf16's 3.38953e\+38; store this bank as fp32"),
        ("int8", -3.4e38, r"value 3.4e\+38 is beyond int8's 1.70141e\+38; store this bank as fp32"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(storage: StorageType, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode(np.array([[value]], np.float32), storage)


@pytest.mark.parametrize(
    ("storage", "largest"), [("fp16", 65504.0), ("bf16", LARGEST_BF16), ("int8", 2.0**127)]
)
def test_the_largest_value_fits(storage: StorageType, largest: float) -> None:
    assert round_trip(np.array([largest], np.float32), storage).tolist() == pytest.approx([largest])

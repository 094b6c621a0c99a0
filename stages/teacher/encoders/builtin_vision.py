"""A vision encoder without weights.

Axes: S pixels of a frame's side, H blocks of a side (2 per patch), G patches of a side, C channels,
D token width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from stages.data.geometry import Geometry, Mode
from stages.teacher.encoders.encoder import Floats
from stages.teacher.encoders.seeded import projection, seeded

VERSION = 1  # of the features: raise it when the same picture gives other vectors
BLOCKS_PER_PATCH = 2
BANDS = 8  # rows of cells that the class token keeps apart; columns are pooled, as is left against right
# Luminance, red against green, blue against yellow: in natural pictures these three hardly correlate.
_OPPONENT = np.array([[1 / 3, 1.0, -0.5], [1 / 3, -1.0, -0.5], [1 / 3, 0.0, 1.0]], dtype=np.float32)
_WAVES = 3  # lowest cosine frequencies kept along each axis of a block
_LINES = ((0, 1), (1, 0), (1, 1), (1, -1))  # across which neighbours a line is looked for: dy, dx
_STRIDES = (1, 2)  # half widths of lines, in pixels of the frame
_FREQUENCIES = (1, 2, 4)  # of the position code, in half turns over the frame
_CALIBRATION_PICTURES = 12
_FEWEST_PATCHES = 4  # of a side: eight bands of rows need eight blocks


class BuiltinVision:
    """A fixed patch encoder: cosine, edge and line energies of blocks, two random layers, pooled class token.

    A patch token holds what is in the patch and around it, and in its last entries where the patch lies.
    The class token holds, for each of eight bands of rows, the mean and the maximum of every channel; it
    is the same for a picture and its mirror image, because an activity is.

    size        side of the frame in pixels; a multiple of 2 x grid
    grid        patches per side
    dim         width of a token, at least 32
    variant     name of the random projections; banks of two variants are two views of the same picture
    width       units of each random layer
    mode, flip  how a picture is laid into the frame (see `Geometry`)
    batch_size  pictures per call that keep memory small; decides nothing else
    """

    def __init__(
        self,
        size: int = 192,
        grid: int = 12,
        dim: int = 256,
        variant: str = "teacher",
        width: int = 128,
        mode: Mode = "stretch",
        flip: bool = False,
        batch_size: int = 32,
    ) -> None:
        """Raises UserError where size and grid do not fit, or dim is too small."""
        side = grid * BLOCKS_PER_PATCH
        if grid < _FEWEST_PATCHES or size % side or size // side < _WAVES:
            raise UserError(
                f"builtin vision encoder: size {size} does not fit a grid of {grid}: a patch is described by "
                f"{BLOCKS_PER_PATCH} x {BLOCKS_PER_PATCH} blocks of at least {_WAVES} pixels a side, and a "
                f"grid has at least {_FEWEST_PATCHES}; try size {side * 8}, or another multiple of {side}"
            )
        if dim < 32:
            raise UserError(
                f"builtin vision encoder: dim {dim} is too small, 32 is the least that says what and where"
            )
        self.geometry = Geometry(size, mode, grid, grid, class_tokens=1, flip=flip)
        self.dim, self.batch_size = dim, batch_size
        self._variant, self._width, self._side = variant, width, side

    def identity(self) -> Mapping[str, Any]:
        return {
            "encoder": "builtin-vision",
            "version": VERSION,
            "geometry": self.geometry.to_json(),
            "dim": self.dim,
            "variant": self._variant,
            "width": self._width,
        }

    def encode(self, frames: NDArray[np.uint8]) -> Floats:
        """[B, S, S, 3] uint8 -> [B, 1 + G*G, D] float32, class token first."""
        size = self.geometry.size
        assert frames.shape[1:] == (size, size, 3), frames.shape
        tokens = np.empty((len(frames), self.geometry.tokens, self.dim), dtype=np.float32)
        for i, frame in enumerate(frames):  # one by one: BLAS rounds differently for different batch sizes
            blocks = self._features.blocks(frame)
            tokens[i, 0] = self._features.class_token(blocks)
            tokens[i, 1:] = self._features.patch_tokens(blocks)
        return tokens

    def close(self) -> None:
        """Keeps its constants, which are small."""

    @cached_property
    def _features(self) -> _Features:
        return _Features(self.geometry.size, self._side, self.dim, self._width, self._variant)


class _Features:
    """The arithmetic of `BuiltinVision`, with its constants."""

    def __init__(self, size: int, side: int, dim: int, width: int, variant: str) -> None:
        self._side = side
        self._pool = np.kron(np.eye(side), np.full(size // side, side / size)).astype(np.float32)  # [H, S]
        self._cosines = _block_cosines(size, side)
        pictures = [self._raw_blocks(picture) for picture in calibration_pictures(size)]
        stacked = np.stack(pictures)
        self._mean, self._std = stacked.mean((0, 1, 2)), stacked.std((0, 1, 2)) + 1e-4
        channels = stacked.shape[-1]
        self._position = _positions(side // BLOCKS_PER_PATCH)
        near = channels * BLOCKS_PER_PATCH**2
        self._first = projection(near, width, variant, "first")
        self._second = projection(9 * width, width, variant, "second")
        content = dim - self._position.shape[1]
        self._patch_out = projection(2 * channels + 2 * width, content, variant, "patch")
        self._patch_center: Floats = np.zeros(2 * channels + 2 * width, dtype=np.float32)
        self._patch_scale: Floats = np.ones_like(self._patch_center)
        standard = [self._standard(raw) for raw in pictures]
        self._calibrate(standard, dim, variant)

    def _calibrate(self, standard: list[Floats], dim: int, variant: str) -> None:
        """Centres and scales what is projected, so that tokens have mean about 0 and variance about 1."""
        patches = np.stack([self._patch_features(blocks) for blocks in standard])
        self._patch_center, self._patch_scale = patches.mean((0, 1)), 1 / (patches.std((0, 1)) + 1e-3)
        pooled = np.stack([_banded(blocks) for blocks in standard])
        self._class_center, self._class_scale = pooled.mean(0), 1 / (pooled.std(0) + 0.1)
        self._class_out = projection(pooled.shape[1], dim, variant, "class")

    def blocks(self, frame: NDArray[np.uint8]) -> Floats:
        """[S, S, 3] uint8 -> [H, H, C] standardised channels."""
        return self._standard(self._raw_blocks(frame))

    def class_token(self, blocks: Floats) -> Floats:
        token: Floats = ((_banded(blocks) - self._class_center) * self._class_scale) @ self._class_out
        return token

    def patch_tokens(self, blocks: Floats) -> Floats:
        """[H, H, C] -> [G*G, D]"""
        features = (self._patch_features(blocks) - self._patch_center) * self._patch_scale
        return np.concatenate([features @ self._patch_out, self._position], axis=1)

    def _standard(self, raw: Floats) -> Floats:
        standard: Floats = (raw - self._mean) / self._std
        return standard

    def _raw_blocks(self, frame: NDArray[np.uint8]) -> Floats:
        """Channels of every block: waves (luma, then chroma), edges by direction, lines by direction."""
        side = self._side
        opponent = np.moveaxis((frame.astype(np.float32) / 255) @ _OPPONENT, -1, 0)
        block = frame.shape[0] // side
        cut = opponent.reshape(3, side, block, side, block).transpose(1, 3, 0, 2, 4)
        waves = cut.reshape(side, side, 3, block * block) @ self._cosines  # [H, H, 3, waves]
        energies = np.sqrt(self._pool @ _edges_and_lines(opponent[0]) @ self._pool.T)
        return np.concatenate([waves.reshape(side, side, -1), np.moveaxis(energies, 0, -1)], axis=-1)

    def _patch_features(self, blocks: Floats) -> Floats:
        """[H, H, C] -> [G*G, 2C + 2 width]: of its blocks, what they form, what is around."""
        grid, channels = self._side // BLOCKS_PER_PATCH, blocks.shape[-1]
        cut = blocks.reshape(grid, BLOCKS_PER_PATCH, grid, BLOCKS_PER_PATCH, channels).transpose(
            0, 2, 1, 3, 4
        )
        cells = cut.reshape(grid * grid, BLOCKS_PER_PATCH**2, channels)
        formed = np.maximum(cells.reshape(grid * grid, -1) @ self._first, 0)
        padded = np.pad(formed.reshape(grid, grid, -1), ((1, 1), (1, 1), (0, 0)))
        around = [padded[y : y + grid, x : x + grid] for y in range(3) for x in range(3)]
        context = np.maximum(np.concatenate(around, axis=-1).reshape(grid * grid, -1) @ self._second, 0)
        return np.concatenate([cells.mean(1), cells.max(1), formed, context], axis=1)


_COLORS = 3 * _WAVES * _WAVES  # channels before the energies
_EDGES = 8


def _block_cosines(size: int, side: int) -> Floats:
    """[pixels of a block, waves]: the lowest two-dimensional cosines, as in JPEG."""
    block = size // side
    x = (np.arange(block) + 0.5) / block
    waves = np.stack([np.cos(np.pi * k * x) / block for k in range(_WAVES)])
    return np.kron(waves, waves).T.astype(np.float32)


def _edges_and_lines(luma: Floats) -> Floats:
    """[S, S] -> [8 + 16, S, S]: rectified slope in eight directions, then dark and bright lines in four."""
    size = luma.shape[0]
    reach = max(_STRIDES)
    padded = np.pad(luma, reach, mode="edge")

    def shifted(dy: int, dx: int) -> Floats:
        return padded[reach + dy : reach + dy + size, reach + dx : reach + dx + size]

    across, down = shifted(0, 1) - shifted(0, -1), shifted(1, 0) - shifted(-1, 0)
    diagonal = math.sqrt(0.5)
    slopes = (across, diagonal * (across + down), down, diagonal * (down - across))
    bends = [
        0.5 * (shifted(stride * dy, stride * dx) + shifted(-stride * dy, -stride * dx)) - luma
        for stride in _STRIDES
        for dy, dx in _LINES
    ]
    signed = np.stack([*slopes, *bends])
    both = np.concatenate([signed[:4], -signed[:4], signed[4:], -signed[4:]])
    rectified: Floats = np.maximum(both, 0, out=both)
    return rectified


def _banded(blocks: Floats) -> Floats:
    """[H, H, C] -> [BANDS * 2 * folded channels]: mean and maximum of each band of rows."""
    folded = _fold(blocks)
    edges = np.linspace(0, len(folded), BANDS + 1).round().astype(int)
    bands = [folded[a : max(b, a + 1)].reshape(-1, folded.shape[-1]) for a, b in itertools.pairwise(edges)]
    return np.concatenate([part for band in bands for part in (band.mean(0), band.max(0))])


def _fold(blocks: Floats) -> Floats:
    """[H, H, C] -> [H, H, C']: sums of every channel and its mirror image, and the size of the colours."""
    color = blocks[..., : _COLORS : _WAVES * _WAVES]  # the mean of luma and of the two chroma channels
    energy = blocks[..., _COLORS:]
    right, left = energy[..., :4], energy[..., 4:8]  # slopes at 0, 45, 90, 135 degrees and their opposites
    half = math.sqrt(0.5)
    slopes = [
        (right[..., 0] + left[..., 0]) * half,
        (right[..., 1] + right[..., 3]) * half,
        (left[..., 1] + left[..., 3]) * half,
        right[..., 2],
        left[..., 2],
    ]
    lines = energy[..., _EDGES:].reshape(*energy.shape[:2], -1, len(_LINES))
    folded = [lines[..., 0], lines[..., 1], (lines[..., 2] + lines[..., 3]) * half]
    return np.concatenate([np.stack(slopes, -1), *folded, color, np.abs(color)], axis=-1)


def _positions(grid: int) -> Floats:
    """[G*G, 14]: row and column of every patch, each as -1..1 and as waves."""
    at = (np.arange(grid) + 0.5) / grid
    waves = [turn(np.pi * k * at) for k in _FREQUENCIES for turn in (np.sin, np.cos)]
    code = np.stack([2 * at - 1, *waves], axis=1)
    rows, columns = np.repeat(code, grid, axis=0), np.tile(code, (grid, 1))
    code = np.concatenate([rows, columns], axis=1)
    return code.astype(np.float32)


def calibration_pictures(size: int) -> list[NDArray[np.uint8]]:
    """Random overlapping discs and bars of one colour each: their edges and colours are spread much as in
    natural pictures ("dead leaves", Lee, Mumford and Huang 2001), so channels can be scaled without data."""
    rng = seeded("calibration", VERSION)
    y, x = np.mgrid[:size, :size]
    pictures = []
    for _ in range(_CALIBRATION_PICTURES):
        picture = np.empty((size, size, 3))
        picture[:] = rng.rand(3)
        for _ in range(40):
            radius, (cx, cy) = size * 0.02 / (rng.rand() ** 0.7 + 0.03), rng.rand(2) * size
            if rng.rand() < 0.5:
                leaf = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
            else:
                leaf = (np.abs(x - cx) < radius) & (np.abs(y - cy) < radius * rng.rand())
            picture[leaf] = rng.rand(3)
        pictures.append((picture * 255).astype(np.uint8))
    # Each also mirrored: a channel and its mirror image must be scaled alike (see `_fold`).
    return pictures + [picture[:, ::-1] for picture in pictures]

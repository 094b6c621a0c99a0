"""Weights of an exported student as 8-bit integers: a fourth of the bytes, for some change of figures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.student.exporting.export_folder import RECOGNISE, SITUATE

# The label graph runs once per list of verbs, so its size alone would gain; and the vision encoder's tokens
# are what the student was trained on.
QUANTISED = (RECOGNISE, SITUATE)


def quantise(folder: Path) -> tuple[int, int]:
    """Replaces the student's graphs by quantised ones; bytes of the graphs before and after.

    Dynamic quantisation: weights are rounded to 8 bits per output channel now, activations to 8 bits per
    tensor as they come.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = _bytes(folder)
    for name in QUANTISED:
        path = folder / name
        smaller = folder / f"{name}.int8"
        with _quiet():
            quantize_dynamic(
                path,
                smaller,
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_weights_first(path),
            )
        smaller.replace(path)
    return before, _bytes(folder)


def _weights_first(path: Path) -> list[str]:
    """Products with weights on the left: scales per output channel are laid along the other side."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "MatMul" and node.input[0] in weights]


def _bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in QUANTISED)


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises a preparation on the root logger, which changes nothing for these graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

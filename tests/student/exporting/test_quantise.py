"""Quantised graphs can be read, whichever side of a product the weights stand on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from stages.student.exporting.quantise import QUANTISED, quantise

RIGHT = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
LEFT = np.random.default_rng(1).standard_normal((200, 300)).astype(np.float32)
SHIFT = np.random.default_rng(2).standard_normal(300).astype(np.float32)


def write_graph(path: Path) -> None:
    """[B, 300] -> [B, 200]: tokens @ RIGHT + LEFT @ SHIFT, the way a student takes in its vision tokens."""
    weights = {"right": RIGHT, "left": LEFT, "shift": SHIFT}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["left", "shift"], ["constant"], name="first"),
            helper.make_node("MatMul", ["tokens", "right"], ["product"], name="second"),
            helper.make_node("Add", ["product", "constant"], ["out"], name="third"),
        ],
        "graph",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["B", 300])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", 200])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def test_weights_on_either_side_of_a_product(tmp_path: Path) -> None:
    for name in QUANTISED:
        write_graph(tmp_path / name)
    before, after = quantise(tmp_path)
    assert after < 0.7 * before, "what stands on the right, half of the weights, takes a fourth"
    tokens = np.random.default_rng(3).standard_normal((4, 300)).astype(np.float32)
    expected = tokens @ RIGHT + LEFT @ SHIFT
    for name in QUANTISED:
        (said,) = onnxruntime.InferenceSession(tmp_path / name).run(None, {"tokens": tokens})
        assert np.abs(said - expected).max() < 0.05 * np.abs(expected).max()

"""Graphs run by onnxruntime, with torch's tensors going in and coming out.

Every shape is as the graph says; an axis it names by a word takes any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache.errors import UserError


class Graph:
    """One ONNX file. Raises UserError where onnxruntime is missing or the file cannot be read."""

    def __init__(self, path: Path) -> None:
        runtime = _require_runtime()
        options = runtime.SessionOptions()
        # As many as torch would use: what the user sets by OMP_NUM_THREADS counts for both.
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone; onnxruntime's warnings are about its own choices
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as reason:  # onnxruntime's errors have no common base but this
            raise UserError(
                f"{path} cannot be read by onnxruntime {runtime.__version__} ({_first_line(reason)}); "
                "export the student again with `mipd-pipe export-student`"
            ) from None
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def run(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs by name."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in inputs.items()}
        found = self._session.run(None, arrays)
        return {name: _tensor(array) for name, array in zip(self.outputs, found, strict=True)}


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _require_runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "an export is run by onnxruntime, which is not installed: `pip install onnxruntime`, or "
            '`pip install ".[export]"` in the folder of mipd-pipe'
        ) from None
    return onnxruntime


def _first_line(reason: Exception) -> str:
    return (str(reason).strip() or type(reason).__name__).splitlines()[0]

"""The student as ONNX graphs."""

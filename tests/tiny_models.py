"""Tiny random models with their tokenizers, built on the spot: nothing is downloaded."""

from __future__ import annotations

from pipeline.bench.tiny_vlm import build_tiny_vlm

__all__ = ["build_tiny_vlm"]

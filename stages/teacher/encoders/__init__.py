"""Frozen models that turn pictures and texts into tokens."""

"""Predictions on pictures of one's own, drawn."""

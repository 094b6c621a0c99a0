"""Samples, vocabulary, splits, pictures and their geometry."""

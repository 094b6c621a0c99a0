"""Stage one: rationales and embeddings, written into the store."""

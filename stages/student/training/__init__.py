"""From batches to a checkpoint."""

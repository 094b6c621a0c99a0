"""What the student is trained on, out of the store."""

"""What is asked about each picture, in which order, and what becomes of the answers."""

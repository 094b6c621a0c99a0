"""What the banks are made of."""

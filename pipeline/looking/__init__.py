"""What is behind `mipd-pipe inspect`."""

"""What `mipd-pipe doctor` looks at."""

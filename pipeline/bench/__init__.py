"""What this machine does, beside its own limits: `mipd-pipe bench`."""

"""What a run will take before it is begun: requests, tokens, hours, disk and memory."""

"""What accepts or rejects a rationale."""

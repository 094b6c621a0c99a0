"""The student's parts, from tokens to a situation."""

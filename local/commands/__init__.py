"""The local cloud's commands."""

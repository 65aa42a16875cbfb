"""The commands that put a front before a deployed stack."""

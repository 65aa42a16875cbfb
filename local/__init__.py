"""The local cloud: the same program, functions and node on one machine, without an account."""

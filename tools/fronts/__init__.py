"""The fronts of a deployed stack, or of a running local cloud, set up by its outputs."""

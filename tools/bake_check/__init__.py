"""Runs the image's component document in a scratch root, without AWS and without a GPU."""

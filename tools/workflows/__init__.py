"""Judges the GitHub workflows: actionlint, built from its Go module, and zizmor from its wheel."""

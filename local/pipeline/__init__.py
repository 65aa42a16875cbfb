"""The recorded delivery pipeline, run on this machine: each stage's own script, in order."""

"""A system under kills and faults that a seed chose: `plan` says which, `stack` is the system,
`run` does it, `account` judges what became of every job.
"""

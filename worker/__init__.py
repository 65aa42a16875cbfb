"""Claims jobs, asks an engine, streams its answers to S3 and ends leases; hosts decide the rest.

`consumer` → `job` → `lease` (its right to the job), `replies` (its object in S3), `model` (the
engine); `host` is all that a worker knows of where it runs.
"""

"""Takes jobs, asks an engine, streams its answers to S3 and ends leases; hosts decide the rest."""

"""What the delivery pipeline runs, and a person too: push test, deployment, rollback, smoke."""

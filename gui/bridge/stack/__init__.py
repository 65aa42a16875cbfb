"""The stack's side: its API, its user's session, and the jobs that the bridge has there."""

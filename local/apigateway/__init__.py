"""API Gateway's semantics: serves the recorded REST API."""

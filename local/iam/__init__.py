"""IAM policies: read, evaluated, and held against what was used."""

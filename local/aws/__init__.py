"""AWS's APIs here: moto, and in front of it EC2's delays, metadata, faults and records."""

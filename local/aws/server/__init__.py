"""What runs in the process of the moto server."""

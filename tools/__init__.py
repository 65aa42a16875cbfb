"""What a person or `make` runs beside the product."""

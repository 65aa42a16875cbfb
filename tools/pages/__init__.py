"""The tables that are generated on the pages; tools/readme.py writes them."""

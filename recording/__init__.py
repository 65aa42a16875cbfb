"""Reads the program without the Pulumi CLI: what it declares, costs and changes. No server."""

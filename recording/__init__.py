"""The program read without the Pulumi CLI: what it declares, costs and changes. Starts no server."""

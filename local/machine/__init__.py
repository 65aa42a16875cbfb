"""Processes, ports and servers of this machine."""

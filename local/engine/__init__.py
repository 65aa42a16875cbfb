"""Pulumi's own engine on this machine: its CLI, run for a stack that is deployed into a local
cloud.
"""

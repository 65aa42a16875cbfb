"""The job queue's contract: every write is one Lua script, described once for both clients.

`accepting` is the router's side, `guarding` and `rounds` the guardian's, for jobs and for nodes and
money, and `working` the worker's; each operation is a `scripts.Call`, which `scripts.run` and
`scripts.arun` send.
"""

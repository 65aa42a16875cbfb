"""What each push is held against within five minutes, and what comes after it: `make push-test` and
`make test`.
"""

# Where a test's id begins so, it is not in the push's selection; and why.
LATER = {
    "tests/system/": "drives the whole local cloud",
    "tests/local/commands/": "drives the whole local cloud, by its commands",
    "tests/fuzz/": "sends a whole local cloud what nobody thought of",
    "tests/chaos/test_chaos.py::test_every_accepted_job": "kills a whole stack's processes",
    "tests/engine/": "runs Pulumi's own engine, which is built from its source",
    "tests/recording/test_terraform.py": "runs the real provider, which a build machine has not",
    "tests/recording/test_applying.py": "runs the real provider, which a build machine has not",
    "tests/recording/test_replaced_by.py": "runs the real provider, which a build machine has not",
    "tests/local/node/": "runs a node's processes with a real model",
}


def later(test: str) -> str | None:
    """Why the test is not in the push's selection; None when it is."""
    return next((why for start, why in LATER.items() if test.startswith(start)), None)

"""How the tests are spread over the workers of a run: what shares a server stays together, and what
takes longest comes first, so that the workers end together.
"""

from xdist.scheduler import LoadScopeScheduling

# Where a test's id begins so, it goes to one worker with all others of the same name, because they
# share a cloud that takes ten seconds to start.
TOGETHER = {
    "tests/system/": "cloud",
    "tests/local/commands/test_tools.py": "cloud",
    "tests/local/commands/test_commands.py::test_a_second_cloud": "cloud",
    "tests/fuzz/": "surface",
    # And a browser, a second of a processor.
    "tests/gui/console/": "console",
}
# Each test of these is long, and shares nothing with the others.
APART = ("tests/engine/", "tests/local/commands/test_commands.py", "tests/chaos/")
# After all others: it judges what they did.
LAST = "tests/system/test_permissions_used.py"
# What takes longest, in this order; everything else is shorter.
FIRST = (
    *TOGETHER,
    "tests/recording/test_terraform.py",
    "tests/local/pipeline/test_delivery.py",
    *APART,
    "tests/tools/delivery/test_deploying.py",
    "tests/local/deployment/test_life.py",
    "tests/tools/test_docs.py",
    "tests/tools/delivery/stages/",
    "tests/tools/delivery/test_summary.py",
    "tests/tools/posture/test_posture.py",
    "tests/local/node/",
    "tests/recording/",
    "tests/components/test_costs.py",
    "tests/functions/",
    "tests/watcher/",
)


def group(test: str) -> str:
    """The tests that one worker runs in one go: usually those of a file."""
    file = test.partition("::")[0]
    if file == LAST:
        return LAST
    alone = test if file.startswith(APART) else file
    return next((name for start, name in TOGETHER.items() if test.startswith(start)), alone)


def place(test: str) -> int:
    """Where a test comes in the order of the run."""
    if test.startswith(LAST):
        return len(FIRST) + 1
    return next((at for at, start in enumerate(FIRST) if test.startswith(start)), len(FIRST))


class Spread(LoadScopeScheduling):
    """Hands out the groups in the order of their first tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)

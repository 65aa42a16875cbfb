"""What each push is held against within five minutes, and what comes after it: `make push-test` and
`make test`.
"""

CLOUD = "drives the whole local cloud"
PROVIDER = "runs Terraform with the real provider, which a build machine has not"
EVALUATES = "evaluates the program, or another revision's, once and again"
ORDERS = "tries every order of events, or whole months of them"
LIFE = "tests/local/deployment/test_life.py::test_a_stack_lives_and_leaves_nothing_behind"
BROWSES = "drives a browser"
REAL = "runs a node's or the lane's own processes, with a real model"

# Where a test's id begins so, it is not in the push's selection; and why.
LATER = {
    "tests/system/": CLOUD,
    "tests/fuzz/": CLOUD,
    "tests/gui/console/": BROWSES,
    "tests/local/commands/": CLOUD,
    "tests/local/pipeline/test_delivery.py": CLOUD,
    f"{LIFE}[literal]": EVALUATES,
    f"{LIFE}[prod]": EVALUATES,
    "tests/bench/test_router.py::test_the_router_keeps_to_it_on_this_machine": CLOUD,
    "tests/engine/": "runs Pulumi's own engine, which is built from its source",
    "tests/tools/test_tear_down.py": "runs AWS's CLI, which is installed for it",
    "tests/recording/test_terraform.py": PROVIDER,
    "tests/recording/test_applying.py": PROVIDER,
    "tests/recording/test_replaced_by.py": PROVIDER,
    "tests/tools/posture/test_posture.py::test_the_stacks_have_only": PROVIDER,
    "tests/recording/test_differences.py::test_the_real_provider_says": PROVIDER,
    "tests/recording/test_differences.py::test_what_the_provider_refuses": PROVIDER,
    "tests/recording/test_differences.py::test_a_change_is_shown": EVALUATES,
    "tests/recording/test_preview.py::test_two_evaluations": EVALUATES,
    "tests/recording/test_shipped.py::test_an_operators_own": EVALUATES,
    "tests/recording/test_preview.py::test_one_key": EVALUATES,
    "tests/recording/test_preview.py::test_a_pull_request": EVALUATES,
    "tests/components/test_gpu_node.py::test_no_setting_power_cycles": EVALUATES,
    "tests/components/test_cpu_worker.py::test_without_the_lane": EVALUATES,
    "tests/components/test_cpu_worker.py::test_never_has_no_node": EVALUATES,
    "tests/components/test_cpu_worker.py::test_nothing_that_stays": EVALUATES,
    "tests/chaos/test_chaos.py::test_every_accepted_job": ORDERS,
    "tests/tlfif/test_lane_races.py": ORDERS,
    "tests/functions/test_model_fetch_runs.py": ORDERS,
    "tests/bench/test_month.py": ORDERS,
    "tests/watcher/test_idle_accuracy.py": ORDERS,
    "tests/local/node/": REAL,
    "tests/functions/test_cpu_worker_process.py": REAL,
    "tests/functions/test_cpu_worker_real.py": REAL,
    "tests/watcher/test_python310.py": "installs what a node's Python has",
}


def later(test: str) -> str | None:
    """Why the test is not in the push's selection; None when it is."""
    return next((why for start, why in LATER.items() if test.startswith(start)), None)

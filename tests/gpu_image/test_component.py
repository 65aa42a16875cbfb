"""The image's component document: what AWS would refuse, and what EC2-002 asks of it."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from recording.model import ROOT
from tlfif import names, serving
from tools.bake_check.document import BUDGET_S, COMPONENT, DocumentError, fill, read

pytestmark = pytest.mark.story("EC2-002")

TEXT = COMPONENT.read_text()
STEPS = {step.name: step for step in read(TEXT)}
IMAGE = ROOT / "gpu_image"


def test_aws_would_take_it() -> None:
    assert list(STEPS)[:3] == ["DownloadSoftware", "UnpackSoftware", "WriteModel"]
    assert {step.phase for step in STEPS.values()} == {"build", "validate"}


def test_the_twelve_minutes() -> None:
    assert sum(step.budget_s for step in STEPS.values()) <= BUDGET_S == 12 * 60


def test_every_script_is_run_by_a_step() -> None:
    run = "".join(step.script for step in STEPS.values())
    inside = "".join(path.read_text() for path in (IMAGE / "bake").iterdir() if path.is_file())
    for path in (IMAGE / "bake").glob("*.*"):
        if path.suffix in (".sh", ".py"):
            assert f"bake/{path.name}" in run + inside, path


# --- mutants: the same check refuses each

Change = Callable[[Any], object]


def _step(document: Any, name: str) -> Any:
    return next(s for p in document["phases"] for s in p["steps"] if s["name"] == name)


def _bash(script: str) -> Change:
    def change(document: Any) -> None:
        _step(document, "InstallVllm")["inputs"] = {"commands": [script]}

    return change


MUTANTS: dict[str, tuple[Change, str]] = {
    "an unknown action": (
        lambda d: _step(d, "CleanUp").update(action="ExecuteBsh"),
        r"build\.steps\.CleanUp\.action: 'ExecuteBsh' is not one of",
    ),
    "no time limit": (
        lambda d: _step(d, "CleanUp").pop("timeoutSeconds"),
        r"build\.steps\.CleanUp: 'timeoutSeconds' is a required property",
    ),
    "an endless step": (
        lambda d: _step(d, "CleanUp").update(timeoutSeconds=-1),
        r"CleanUp\.timeoutSeconds: -1 is less than",
    ),
    "a step that may fail": (
        lambda d: _step(d, "ValidateNode").update(onFailure="Continue"),
        r"ValidateNode\.onFailure",
    ),
    "inputs of another action": (
        lambda d: _step(d, "CleanUp").update(inputs=[{"path": "/x"}]),
        r"CleanUp\.inputs.*is not of type 'object'",
    ),
    "a misspelt input": (
        lambda d: _step(d, "WriteModel")["inputs"][0].update(contents=""),
        r"WriteModel.*'contents' was unexpected",
    ),
    "a folder that AWSTOE does not know": (
        lambda d: _step(d, "WriteModel")["inputs"][0].update(path="model.json"),
        r"path: 'model\.json' does not match",
    ),
    "an unknown phase": (lambda d: d["phases"][0].update(name="bake"), r"'bake' is not one of"),
    "another schema": (lambda d: d.update(schemaVersion=2), r"schemaVersion"),
    "two steps of one name": (
        lambda d: _step(d, "CleanUp").update(name="InstallVllm"),
        r"step of build 'InstallVllm': there are 2",
    ),
    "an unknown parameter": (
        _bash("echo {{ Softwre }}"),
        r"InstallVllm: \{\{ Softwre \}\} is no parameter; there are Software, ",
    ),
    "broken bash": (_bash("if true; then"), r"InstallVllm: bash: line 2: syntax error"),
    "a script that is not there": (
        _bash("bash /srv/tl-fif/gpu_image/bake/vlm.sh"),
        r"InstallVllm: gpu_image/bake/vlm\.sh does not exist",
    ),
    "too long together": (
        lambda d: _step(d, "InstallVllm").update(timeoutSeconds=800),
        r"half of timeoutSeconds, are 900 s together; the bake has 720",
    ),
    "too many characters": (_bash("#" * 16_000), r"characters; AWS takes 16,000"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_refused(name: str) -> None:
    document = copy.deepcopy(yaml.safe_load(TEXT))
    change, expected = MUTANTS[name]
    change(document)
    with pytest.raises(DocumentError, match=expected):
        read(yaml.safe_dump(document, sort_keys=False))


def test_a_broken_script_is_refused(tmp_path) -> None:
    (tmp_path / "gpu_image" / "bake").mkdir(parents=True)
    for path in (IMAGE / "bake").iterdir():
        if path.is_file():
            (tmp_path / "gpu_image" / "bake" / path.name).write_text(path.read_text())
    (tmp_path / "gpu_image" / "bake" / "clean.sh").write_text("rm -rf 'x\n")
    with pytest.raises(DocumentError, match=r"CleanUp: gpu_image/bake/clean\.sh: .*unexpected EOF"):
        read(TEXT, tmp_path)


def test_it_is_no_yaml() -> None:
    with pytest.raises(DocumentError, match="not YAML: while"):
        read("phases: [")


# --- parameters

HOSTILE = "a'b\"$(touch /tmp/x)`id`;\\"


def test_nothing_in_a_models_name_reaches_a_shell() -> None:
    using = [step for step in STEPS.values() if "{{ Model }}" in json.dumps(step.inputs)]
    assert [step.action for step in using] == ["CreateFile"]
    model = json.dumps({"served_name": HOSTILE})
    assert fill(using[0], {"Model": model}).inputs[0]["content"] == model


def test_a_parameter_without_a_value() -> None:
    with pytest.raises(DocumentError, match="DownloadSoftware: the parameter Software has no"):
        fill(STEPS["DownloadSoftware"], {})


def test_the_software_is_checked_before_it_is_unpacked() -> None:
    script = fill(STEPS["UnpackSoftware"], {"SoftwareSha256": "f" * 64}).script
    assert script.startswith("set -euo pipefail\n")
    assert script.index("sha256sum --check --strict") < script.index("zipfile -e")
    assert f'"{"f" * 64}  ' in script


# --- EC2-002, word by word


def test_python_310_is_what_every_environment_is_made_of() -> None:
    script = (IMAGE / "bake" / "environment.sh").read_text()
    assert '--python "$(command -v python3.10)"' in script
    assert "python3.10-venv" in (IMAGE / "bake" / "packages.sh").read_text()
    made = [step.script.split()[-2:] for step in STEPS.values() if "environment.sh" in step.script]
    assert made == [["watcher", "requirements.txt"], ["vllm", "vllm-requirements.txt"]]


def pins(path: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (IMAGE / path).read_text(), re.MULTILINE)
    assert found
    return dict(found)


def test_cuda_12_and_a_vllm_that_can_be_built() -> None:
    """0.4.2 as the story has it knows no GGUF: the first that does is 0.5.5 (decisions)."""
    pinned = pins("vllm-requirements.txt")
    version = tuple(int(part) for part in pinned["vllm"].split("."))
    # From 0.20 on its wheels are CUDA 13's, and from 0.24 on GGUF is out of the tree.
    assert (0, 5, 5) <= version < (0, 20), pinned["vllm"]
    assert pinned["nvidia-cuda-runtime-cu12"].startswith("12.")
    assert not [name for name in pinned if name.endswith("-cu13")]
    assert pinned["transformers"].startswith("4.")
    assert f'version == "{pinned["vllm"]}"' in (IMAGE / "bake" / "validate.sh").read_text()


@pytest.mark.parametrize("path", ["requirements.txt", "vllm-requirements.txt", "bake/uv.txt"])
def test_every_package_has_its_hash(path: str) -> None:
    """Nothing is installed that was not pinned, and no file names a registry."""
    text = (IMAGE / path).read_text()
    packages = re.split(r"\n(?=[a-z0-9-]+==)", text.partition("\n")[2])
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", each) for each in packages)
    assert "://" not in text
    script = (IMAGE / "bake" / "environment.sh").read_text()
    assert script.count("--require-hashes --only-binary :all:") == 2


def test_what_is_asked_for_is_what_is_pinned() -> None:
    pinned = pins("vllm-requirements.txt")
    asked = (IMAGE / "vllm-requirements.in").read_text()
    assert f"\nvllm=={pinned['vllm']} " in asked
    assert pins("bake/uv.txt")["uv"] in (ROOT / "tools" / "setup.py").read_text()


def test_a_driver_of_570_with_ubuntus_own_modules() -> None:
    script = (IMAGE / "bake" / "driver.sh").read_text()
    branch = re.search(r"BRANCH=(\d+)-server", script)
    assert branch
    assert int(branch[1]) >= 570
    assert "linux-modules-nvidia-$BRANCH-aws" in script
    assert "nvidia-headless-no-dkms-$BRANCH" in script


def test_the_agent_sends_the_gpus_metrics_and_nothing_else() -> None:
    """Each metric is billed once: by the instance alone."""
    agent = json.loads((IMAGE / "cloudwatch-agent.json").read_text())["metrics"]
    gpu = agent["metrics_collected"].pop("nvidia_gpu")
    assert gpu["measurement"] == ["utilization_gpu", "memory_used", "memory_total"]
    assert gpu["drop_original_metrics"] == gpu["measurement"]
    assert agent["metrics_collected"] == {}
    assert agent["namespace"] == names.NAMESPACE_GPU
    assert agent["aggregation_dimensions"] == [["InstanceId"]]


def test_the_node_finds_everything_where_the_image_has_it() -> None:
    inside = "".join(path.read_text() for path in (IMAGE / "bake").glob("*.sh"))
    assert str(serving.ROOT) == "/srv/tl-fif"
    assert f"ROOT={serving.ROOT}" in inside
    assert STEPS["WriteModel"].inputs[0]["path"] == str(serving.MODEL_FILE)

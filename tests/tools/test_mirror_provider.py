"""The script by which workflows have the AWS provider: its mirror is found, and said on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recording import terraform
from recording.model import ROOT

SCRIPT = ROOT / ".github" / "mirror-provider"
PLACE = "registry.terraform.io/hashicorp/aws"
# As Terraform 1.11's mirror: an archive a platform, and what there is in JSON.
TERRAFORM = f"""#!/bin/sh
test "$1 $2" = "providers mirror" && grep -q 'version = "5.100.0"' main.tf || exit 1
mkdir -p "$3/{PLACE}" && cd "$3/{PLACE}"
echo '{{}}' > index.json
archive=terraform-provider-aws_5.100.0_linux_amd64.zip
echo binary > terraform-provider-aws_v5.100.0_x5
"{sys.executable}" -m zipfile -c "$archive" terraform-provider-aws_*
"""


@pytest.mark.integration
def test_the_mirror_is_where_the_steps_that_follow_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "terraform"
    program.parent.mkdir()
    program.write_text(TERRAFORM)
    program.chmod(0o755)
    told = tmp_path / "env"
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ENV": str(told),
    }
    subprocess.run([str(SCRIPT)], env=environment, check=True)
    name, _, folder = told.read_text().strip().partition("=")
    monkeypatch.setenv(name, folder)
    assert terraform.find_plugins() == tmp_path / "plugins"


def test_its_shell_is_in_order() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    if not shellcheck.exists():
        pytest.skip("no shellcheck in this environment: it has a wheel for x86_64 alone")
    done = subprocess.run([str(shellcheck), str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")

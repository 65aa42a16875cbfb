"""AWS's own CLI in a virtual environment of its own, for the tests that execute what the pages say:
its dependencies are not ours.
"""

import subprocess
import sys
from pathlib import Path

from recording.model import ROOT

PINS = Path(__file__).parent / "requirements.txt"
FOLDER = ROOT / ".cache" / "aws-cli"


class NoCliError(RuntimeError):
    """The CLI cannot be installed; the message has the installer's last words."""


def prepare(folder: Path = FOLDER) -> Path:
    """The folder that has `aws`, and nothing else that a PATH should; installs it unless these pins
    are installed already. Raises NoCliError.
    """
    stamp, bin_ = folder / "installed.txt", folder / "path"
    if not stamp.exists() or stamp.read_text() != PINS.read_text():
        _uv("venv", "--clear", "--python", sys.executable, str(folder / "venv"))
        python = folder / "venv" / "bin" / "python"
        _uv("pip", "install", "--python", str(python), "--require-hashes", "-r", str(PINS))
        bin_.mkdir(exist_ok=True)
        (bin_ / "aws").unlink(missing_ok=True)
        (bin_ / "aws").symlink_to(folder / "venv" / "bin" / "aws")
        stamp.write_text(PINS.read_text())
    return bin_


def _uv(*words: str) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise NoCliError(f"AWS's CLI cannot be installed: {said[-1]}")

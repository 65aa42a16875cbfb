"""nginx for the local node: the real node's own configuration, with this machine's ports and
folders.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from local.machine.ports import LOOPBACK
from recording.model import ROOT
from tlfif import names

GPU_IMAGE = ROOT / "gpu_image"
CONFIGURATION = GPU_IMAGE / "nginx.conf"


def installed() -> str | None:
    """Where nginx is; None without one. Debian's is in a folder that users have not on their
    PATH.
    """
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One nginx: its executable, its port and the engine's, the folder of what it writes while it
    runs, and its certificate's file, which outlives that.
    """

    nginx: str
    port: int
    engine_port: int
    folder: Path
    certificate: Path

    @property
    def url(self) -> str:
        """Where it answers, by a name that its certificate has."""
        return f"https://localhost:{self.port}"

    def configure(self) -> list[str]:
        """Writes the configuration for this machine; the command that runs it, certificate
        first.
        """
        path = self.folder / "nginx.conf"
        path.write_text(self._configuration())
        python = [sys.executable, "-I", "-S", str(GPU_IMAGE / "certificate.py")]
        return [*python, str(self.certificate), self.nginx, "-c", str(path)]

    def _configuration(self) -> str:
        """Raises LookupError when the node's own has not what is replaced here."""
        text = CONFIGURATION.read_text()
        for real, here in (
            ("listen 443 ssl;", f"listen {LOOPBACK}:{self.port} ssl;"),
            (f"http://127.0.0.1:{names.MODEL_PORT}/", f"http://{LOOPBACK}:{self.engine_port}/"),
            ("/etc/ssl/tl-fif/node.pem", str(self.certificate)),
            ("/run/tl-fif/", f"{self.folder}/"),
        ):
            if real not in text:
                raise LookupError(f"{CONFIGURATION}: {real!r} is not there any more")
            text = text.replace(real, here)
        return text

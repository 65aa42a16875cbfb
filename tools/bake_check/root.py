"""The scratch root: a Debian of its own, with what Ubuntu 22.04 would have of itself.

The caller is in a mount namespace of its own, so that no mount outlives it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
# systemd for its units; the libraries that CPython's modules were linked with.
PACKAGES = (
    "systemd", "ca-certificates", "libssl3", "libffi8", "libsqlite3-0", "libbz2-1.0",
    "liblzma5", "libreadline8", "libncursesw6",
)  # fmt: skip
PREFIX = "/opt/python3.10"
# What Ubuntu 22.04 names its own Python: here packages that hold a copy of this machine's.
STAND_IN_PACKAGES = ("python3.10-venv", "python3.10-dev")
# What of this machine's environment a step may see: how its registries are reached.
PASSED = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http", "no_proxy")


class RootError(RuntimeError):
    """No scratch root can be made here; the message says why, and the fix."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """A root below `path`; `mounted` must have been called before anything runs in it."""

    path: Path

    def mount(self) -> None:
        """/proc and devices of its own: for as long as the mount namespace lives."""
        for name in ("proc", "dev", "dev/shm", "sys"):
            (self.path / name).mkdir(exist_ok=True)
        _run("mount", "-t", "proc", "proc", str(self.path / "proc"))
        _run("mount", "-t", "tmpfs", "tmpfs", str(self.path / "dev"))
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            node = self.path / "dev" / name
            node.touch()
            _run("mount", "--bind", f"/dev/{name}", str(node))
        for name, target in {
            "fd": "/proc/self/fd",
            "stdin": "fd/0",
            "stdout": "fd/1",
            "stderr": "fd/2",
        }.items():
            (self.path / "dev" / name).symlink_to(target)
        (self.path / "dev" / "shm").mkdir()
        shutil.copy("/etc/resolv.conf", self.path / "etc" / "resolv.conf")

    def command(self, argv: Sequence[str]) -> list[str]:
        """What runs the command inside."""
        return ["chroot", str(self.path), *argv]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """A builder's environment, and how this machine reaches its registries."""
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**passed, "PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **(more or {})}

    def run(self, *argv: str, timeout_s: float = 300, **more: str) -> None:
        """Runs a command inside. Raises RootError."""
        _run(*self.command(argv), env=self.environment(more), timeout_s=timeout_s)


def make(cache: Path) -> Root:
    """A fresh root in `cache`, from a base that is made there once. Raises RootError."""
    interpreter = python310()
    key = hashlib.sha256(f"{SUITE} {PACKAGES} {interpreter}".encode()).hexdigest()[:12]
    base = cache / f"base-{key}"
    if not base.exists():
        partial = cache / f"base-{key}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _make_base(partial, interpreter)
        partial.rename(base)
    root = Root(path=cache / "root")
    shutil.rmtree(root.path, ignore_errors=True)
    _run("cp", "-a", str(base), str(root.path))
    return root


def python310() -> Path:
    """The folder of a CPython 3.10 that can be copied. Raises RootError."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [str(each) for each in sorted(pyenv.glob("versions/3.10.*/bin/python3.10"))]
    if not found:
        uv = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "3.10"]
        found = subprocess.run(uv, capture_output=True, text=True).stdout.split()
    if not found or (prefix := Path(found[-1]).resolve().parent.parent) == Path("/usr"):
        raise RootError("no CPython 3.10 in a folder of its own here: install one by pyenv or uv")
    return prefix


def _make_base(path: Path, interpreter: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise RootError("no debootstrap here: apt-get install debootstrap")
    include = f"--include={','.join(PACKAGES)}"
    _run("debootstrap", "--variant=minbase", include, SUITE, str(path))
    _copy_python(interpreter, path)
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates:
        shutil.copy(certificates, path / "etc/ssl/certs/ca-certificates.crt")


def _copy_python(interpreter: Path, path: Path) -> None:
    """CPython as Ubuntu has it, /usr/bin/python3 and python3.10, and packages that say so."""
    ignored = shutil.ignore_patterns("test", "__pycache__", "*.a", "site-packages")
    shutil.copytree(interpreter, path / PREFIX[1:], symlinks=True, ignore=ignored)
    (path / "etc/ld.so.conf.d/python3.10.conf").write_text(f"{PREFIX}/lib\n")
    _run("ldconfig", "-r", str(path))
    for name in ("python3", "python3.10"):
        (path / "usr/bin" / name).symlink_to(f"{PREFIX}/bin/python3.10")
    for name in STAND_IN_PACKAGES:
        folder = path / "tmp" / name
        (folder / "DEBIAN").mkdir(parents=True)
        (folder / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 3.10\nArchitecture: all\nMaintainer: tl-fif\n"
            "Description: stands for Ubuntu's package in the scratch root\n"
        )
        _run("dpkg-deb", "--build", "--root-owner-group", str(folder), f"{folder}.deb")
        _run("chroot", str(path), "dpkg", "--install", f"/tmp/{name}.deb")


def _run(*argv: str, env: Mapping[str, str] | None = None, timeout_s: float = 600) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=timeout_s)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-8:]
        raise RootError(f"{' '.join(argv[:6])}: " + "\n".join(last))

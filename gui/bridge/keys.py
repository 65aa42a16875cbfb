"""The bridge's own API key: from the environment, or made once and kept for this user alone."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "TLFIF_BRIDGE_KEY"
SHORTEST = 16


class KeyFileError(RuntimeError):
    """There is no key to be had; the message names what to mend."""


def path(environment: Mapping[str, str]) -> Path:
    """Where the key is kept: in the user's folder of configuration."""
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "tl-fif" / "bridge.key"


def key(environment: Mapping[str, str]) -> str:
    """The key; raises KeyFileError."""
    if given := environment.get(VARIABLE):
        return _good(given, f"${VARIABLE}")
    file = path(environment)
    try:
        return _kept(file) if file.exists() else _made(file)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise KeyFileError(f"{file}: {why}; set ${VARIABLE} to a key instead") from error
    except UnicodeDecodeError:
        raise KeyFileError(f"{file} has no key; delete it for a new one") from None


def _kept(file: Path) -> str:
    if file.stat().st_mode & 0o077:
        raise KeyFileError(f"{file} may be read by others; delete it for a new key")
    return _good(file.read_text().strip(), str(file))


def _made(file: Path) -> str:
    made = f"sk-tlfif-{secrets.token_urlsafe(32)}"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written whole under another name first: whoever starts meanwhile finds a key or none.
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{made}\n")
        # Unlike a rename, it does not replace the key of somebody who was faster.
        os.link(draft, file)
    except FileExistsError:
        return _kept(file)
    finally:
        draft.unlink()
    return made


def _good(found: str, where: str) -> str:
    """A key that a header can carry, and that nobody guesses."""
    if len(found) >= SHORTEST and found.isascii() and found.isprintable() and " " not in found:
        return found
    raise KeyFileError(
        f"the key in {where} is none: {SHORTEST} characters of ASCII or more, without spaces"
    )

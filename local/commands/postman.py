"""`make postman`: docs/tl-fif.postman_collection.json, run by newman against a local cloud."""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jose import jwt

from components.bundle import ROOT
from local.aws.ec2 import Delays
from local.aws.moto import signing_key
from local.cloud import LocalCloud, Options
from local.commands.shared import SECONDS_PER_MINUTE, CommandError, say
from local.users import login

COLLECTION = ROOT / "docs/tl-fif.postman_collection.json"
NEWMAN = "newman@6.2.2"
FOLDER = ROOT / ".cache" / NEWMAN.replace("@", "-")


class NewmanError(CommandError):
    """newman cannot be had; the message says what is missing."""


async def run(arguments: argparse.Namespace) -> int:
    """Starts a local cloud, runs the collection, and returns newman's exit code: 0 when every
    assertion held.
    """
    newman = await asyncio.to_thread(install)
    options = Options(
        stack=arguments.stack,
        seconds_per_minute=SECONDS_PER_MINUTE,
        delays=Delays(pending_s=0.6, stopping_s=0.5),
    )
    async with LocalCloud(options, say) as cloud:
        return await run_collection(cloud, newman)


async def run_collection(cloud: LocalCloud, newman: Path) -> int:
    """Runs the collection against this cloud, with two new users; newman's exit code."""
    file = cloud.log_dir / "postman_environment.json"
    file.write_text(json.dumps(await asyncio.to_thread(environment, cloud)))
    color = "on" if sys.stdout.isatty() else "off"
    arguments = [newman, "run", COLLECTION, "--environment", file, "--color", color]
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def environment(cloud: LocalCloud) -> dict[str, Any]:
    """A Postman environment; the collection describes its variables."""
    token = login(cloud, "postman@example.com")
    values = {
        "api": cloud.api_url,
        "token": token,
        "other_token": login(cloud, "postman-rapid@example.com"),
        "expired_token": expired(token),
    }
    return {
        "name": "local cloud",
        "values": [{"key": k, "value": v, "enabled": True} for k, v in values.items()],
    }


def expired(token: str) -> str:
    """The same token as it would be if it had been issued two hours ago for one."""
    key, now = signing_key(), int(time.time())
    claims = {**jwt.get_unverified_claims(token), "iat": now - 7200, "exp": now - 3600}
    return jwt.encode(claims, key, "RS256", headers={"kid": key["kid"]})


def install() -> Path:
    """newman's command in .cache, installed there if it is not yet; raises NewmanError."""
    command = FOLDER / "node_modules/.bin/newman"
    if shutil.which("node") is None or shutil.which("npm") is None:
        fix = "https://nodejs.org (Debian: apt-get install npm)"
        raise NewmanError(f"make postman needs node and npm: {fix}")
    if not command.exists():
        print(f"tl-fif: installing {NEWMAN} into .cache (once)", file=sys.stderr)
        _npm_install()
    return command


def _npm_install() -> None:
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(FOLDER), NEWMAN]
    done = subprocess.run(npm, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[-1] if lines else "no reason given"
        raise NewmanError(f"npm could not install {NEWMAN}: {reason}")

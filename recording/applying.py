"""The real AWS provider at work: Terraform applies, plans again and destroys a configuration at any
URL that answers for AWS.
"""

import json
import signal
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording.terraform import Terraform, diagnostics
from recording.translation import Json

# The provider waits for most of an apply, so that more at once is only faster.
_OPTIONS = ("-json", "-input=false", "-lock=false", "-parallelism=64")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run did: the addresses that it made, changed or deleted by action (`create`,
    `update`, `delete`), every error with its address, and its seconds.
    """

    done: Mapping[str, Sequence[str]]
    errors: list[str]
    seconds: float

    @property
    def count(self) -> int:
        """How many resources it made, changed or deleted."""
        return sum(len(addresses) for addresses in self.done.values())


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a plan would do to one resource: `actions` as Terraform names them, and the attributes
    that differ, before and after.
    """

    actions: list[str]
    differing: Mapping[str, tuple[Any, Any]]


class Deployment:
    """One configuration's resources at `url`, with the state in Terraform's folder."""

    def __init__(self, terraform: Terraform, url: str) -> None:
        self._terraform, self._url = terraform, url

    def apply(self, configuration: Json) -> Outcome:
        """Makes it so."""
        self._write(configuration)
        return self._run("apply")

    def interrupt(self, configuration: Json, at: str, others: Sequence[str]) -> Outcome:
        """Begins with `at` and `others`, addresses; as by Ctrl-C interrupted when the provider has
        waited 10 s for `at`.

        The others are made by then: of a call under way the state would not say what came of it.
        """
        self._write(configuration)
        targets = [f"-target={address}" for address in (at, *others)]
        return self._run("apply", *targets, interrupt_at=at)

    def destroy(self) -> Outcome:
        """Deletes all that the state knows."""
        return self._run("destroy", "-refresh=false")

    def plan(self, configuration: Json) -> dict[str, Change]:
        """What an apply would do now, after a look at what there is; without what stays as it is.

        Raises RuntimeError if it is refused.
        """
        self._write(configuration)
        options = (*_OPTIONS, "-out=plan")
        self._terraform.run("plan", *options, url=self._url)
        plan = json.loads(self._terraform.run("show", "-json", "plan", url=self._url).stdout)
        found = {each["address"]: each["change"] for each in plan.get("resource_changes", ())}
        return {
            address: Change(actions=change["actions"], differing=_differing(change))
            for address, change in found.items()
            if change["actions"] not in (["no-op"], ["read"])
        }

    def _write(self, configuration: Json) -> None:
        self._terraform.write(_reaching(configuration))
        for named in configuration["resource"].values():
            for body in named.values():
                for path in (body.get("filename"), body.get("zip_file"), body.get("source")):
                    # A build's source is no file.
                    if isinstance(path, str):
                        _stand_in(self._terraform.folder / path)

    def _run(self, command: str, *options: str, interrupt_at: str = "") -> Outcome:
        started = time.monotonic()
        arguments = (command, "-auto-approve", *_OPTIONS, *options)
        messages: list[Json] = []
        with self._terraform.start(*arguments, url=self._url) as process:
            assert process.stdout is not None
            for line in process.stdout:
                messages.append(json.loads(line))
                if _still(messages[-1]) == interrupt_at:
                    process.send_signal(signal.SIGINT)
        done: dict[str, list[str]] = {}
        for each in messages:
            if each["type"] == "apply_complete":
                hook = each["hook"]
                done.setdefault(hook["action"], []).append(hook["resource"]["addr"])
        return Outcome(done=done, errors=diagnostics(messages), seconds=time.monotonic() - started)


def _still(message: Json) -> str | None:
    """The address for which Terraform says that it is still being made, as every 10 s."""
    still = message["type"] == "apply_progress"
    return message["hook"]["resource"]["addr"] if still else None


def _reaching(configuration: Json) -> Json:
    """The configuration with a provider that asks: whose account it is, and buckets by path."""
    aws = configuration["provider"]["aws"]
    asking = {**aws, "skip_requesting_account_id": False, "s3_use_path_style": True}
    return {**configuration, "provider": {"aws": asking}}


def _stand_in(archive: Path) -> None:
    """A zip in place of a function's bundle, which differs whenever the bundle's name does."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("name.txt", archive.name)


def _differing(change: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    before, after = change["before"] or {}, change["after"] or {}
    unknown = change.get("after_unknown") or {}
    return {
        key: (before.get(key), "unknown" if unknown.get(key) is True else after.get(key))
        for key in sorted(before.keys() | after.keys() | unknown.keys())
        if unknown.get(key) is True or before.get(key) != after.get(key)
    }

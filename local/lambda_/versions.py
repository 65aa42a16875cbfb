"""A function's versions on this machine: each runs the code and the settings it was published with,
and an alias spreads its calls over two of them by weight.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from local.lambda_.host import FunctionHost
from local.lambda_.model import LATEST, FunctionSpec, LambdaApiError

# How old what is known of versions and aliases may be when a call comes, and how long a version
# that no alias names stays up after its last call.
LOOK_S, IDLE_S = 0.5, 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alias:
    """Which version an alias names, and the part of its calls that others get."""

    version: str
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[str, ...]:
        """All that it names, its own first."""
        return (self.version, *self.weights)


@dataclass(frozen=True)
class Published:
    """What there is of one function: the specification of each version, `$LATEST` among them, and
    its aliases by name.
    """

    versions: Mapping[str, FunctionSpec]
    aliases: Mapping[str, Alias]


class Versions:
    """`await versions.host(qualifier)` is what runs a call; `look` asks what there is.

    `host_of` makes the host of a version. What `look` cannot tell is as it was known last.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Published]],
        host_of: Callable[[FunctionSpec], FunctionHost],
    ) -> None:
        self._look, self._host_of = look, host_of
        self._known = Published({}, {})
        self._hosts: dict[str, FunctionHost] = {}
        self._called: dict[str, float] = {}
        # Of each alias, how much of a call every version is owed: so the calls are spread evenly,
        # as they are on AWS in the long run.
        self._owed: dict[str, dict[str, float]] = {}
        self._looked, self._stale = float("-inf"), False
        self._looking = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> Published:
        """What there was when it was looked at last."""
        return self._known

    async def start(self, alias: str) -> None:
        """Looks what there is, and starts what the alias names; what fails is left to the calls."""
        await self.look()
        named = self._known.aliases.get(alias) or Alias(LATEST)
        hosts = [self._hosted(each) for each in named.versions]
        await asyncio.gather(*(host.start() for host in hosts), return_exceptions=True)

    async def stop(self) -> None:
        """Ends every version."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(host.stop() for host in self._hosts.values()))
        self._hosts.clear()

    def main(self, alias: str) -> FunctionHost:
        """The host of the version that an alias names, without its weights."""
        return self._hosted((self._known.aliases.get(alias) or Alias(LATEST)).version)

    def changed(self) -> None:
        """Somebody changed a version or an alias: the next call looks."""
        self._stale = True

    async def host(self, qualifier: str) -> FunctionHost:
        """What runs a call of this version or alias, "" for `$LATEST`.

        Raises LambdaApiError (404) when there is none.
        """
        known = {"", *self._known.versions, *self._known.aliases}
        if self._stale or qualifier not in known or time.monotonic() - self._looked > LOOK_S:
            await self.look()
        return self.host_now(qualifier)

    def host_now(self, qualifier: str) -> FunctionHost:
        """The same by what is known already."""
        version = self._picked(qualifier) if qualifier in self._known.aliases else qualifier
        host = self._hosted(version or LATEST)
        self._called[host.function.version] = time.monotonic()
        return host

    async def look(self) -> None:
        """Looks what there is now: starts what an alias newly names, ends what is gone."""
        async with self._looking:
            # What changes while it is looked at makes it stale again.
            began, self._stale = time.monotonic(), False
            try:
                found = await self._look()
            except Exception as error:
                _log.warning("versions cannot be looked at: %s", error)
                return
            before, self._known = self._known, found
            self._looked = began
            if found.aliases != before.aliases:
                self._owed.clear()
            if before.versions:
                self._warm(before)
            self._retire()

    def _warm(self, before: Published) -> None:
        old = {each for alias in before.aliases.values() for each in alias.versions}
        for each in self._named() - old:
            self._keep(self._hosted(each).start())

    def _retire(self) -> None:
        named, now = self._named(), time.monotonic()
        for version, host in list(self._hosts.items()):
            replaced = self._known.versions.get(version) != host.function
            idle = version not in named and now - self._called.get(version, now) > IDLE_S
            self._called.setdefault(version, now)
            if replaced or idle:
                del self._hosts[version]
                self._keep(_ended(host))

    def _named(self) -> set[str]:
        return {each for alias in self._known.aliases.values() for each in alias.versions}

    def _picked(self, name: str) -> str:
        """The version whose turn it is among those that an alias names."""
        alias = self._known.aliases[name]
        shares = {alias.version: 1 - sum(alias.weights.values()), **alias.weights}
        owed = self._owed.setdefault(name, dict.fromkeys(shares, 0.0))
        for version, share in shares.items():
            owed[version] += share
        chosen = max(owed, key=lambda version: owed[version])
        owed[chosen] -= 1
        return chosen

    def _hosted(self, version: str) -> FunctionHost:
        if version not in self._hosts:
            if version not in self._known.versions:
                known = ", ".join([*self._known.versions, *self._known.aliases]) or "none"
                message = f"Function not found: version or alias {version}; there is: {known}"
                raise LambdaApiError(404, "ResourceNotFoundException", message)
            self._hosts[version] = self._host_of(self._known.versions[version])
        return self._hosts[version]

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _ended(host: FunctionHost) -> None:
    """Ends a host when its calls are answered."""
    await host.drain()
    await host.stop()


async def _logged(work: Awaitable[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await work
        except Exception as error:
            _log.warning("a version cannot be started or ended: %s", error)

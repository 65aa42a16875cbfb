"""EC2's slow starts and stops over moto's instant ones: states between, refusals, and who wants to
know.
"""

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from botocore.exceptions import ClientError

from local.aws.errors import AwsError

StateListener = Callable[[str, str], Awaitable[None] | None]

STATE_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
# Why an instance is stopped whose machine powered itself off, or that EC2 took back.
POWERED_OFF = "Client.InstanceInitiatedShutdown"
TAKEN_BACK = "Server.SpotInstanceShutdown"
MESSAGES = {POWERED_OFF: "Instance initiated shutdown", TAKEN_BACK: "Spot capacity was reclaimed"}
_STATE_FILTERS = ("instance-state-name", "instance-state-code")
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15"

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Delays:
    """How long an instance stays `pending` and `stopping`, in seconds."""

    pending_s: float = 1.0
    stopping_s: float = 0.5


class InstanceStates:
    """The states between moto's `stopped` and `running`, and since when instances run."""

    def __init__(self, client: Any, delays: Delays):
        """`client` is a boto3 EC2 client of moto itself."""
        self.delays = delays
        self._client = client
        self._between: dict[str, str] = {}
        self._launched: dict[str, datetime] = {}
        # Why the next start of an instance will come to nothing; and the codes of why instances
        # are stopped that nobody stopped by a call.
        self._doomed: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._listeners: list[StateListener] = []
        self._transitions: set[asyncio.Task[None]] = set()
        # Of two starts at once the second must see the first's `pending`, not moto's `stopped`.
        self._one_at_a_time = asyncio.Lock()

    def listen(self, listener: StateListener) -> None:
        """Calls `listener(instance_id, state)` at each change; `stopped` waits for what it does
        about `stopping`.
        """
        self._listeners.append(listener)

    async def close(self) -> None:
        """Abandons the transitions under way."""
        for transition in self._transitions:
            transition.cancel()
        await asyncio.gather(*self._transitions, return_exceptions=True)

    async def state(self, instance_id: str) -> str:
        """The state EC2 shows now; raises AwsError for an unknown id."""
        return (await self._states([instance_id]))[instance_id]

    async def describe(self, instance_ids: Sequence[str]) -> list[dict[str, Any]]:
        """What DescribeInstances says of these instances, but for the states between; raises
        AwsError.
        """
        try:
            answer = await asyncio.to_thread(
                self._client.describe_instances, InstanceIds=list(instance_ids)
            )
        except ClientError as error:
            raise _refusal(error) from None
        reservations = [each["Instances"] for each in answer["Reservations"]]
        instances = list(itertools.chain.from_iterable(reservations))
        for instance in instances:
            # moto keeps the time of the first launch; on EC2 it is the last start's.
            first = instance["LaunchTime"]
            instance["LaunchTime"] = self._launched.get(instance["InstanceId"], first)
        return instances

    async def tags(self, instance_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The tags of these instances, by id; raises AwsError."""
        # EC2 takes a call without ids as one for all instances.
        instances = await self.describe(instance_ids) if instance_ids else []
        return {
            each["InstanceId"]: {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
            for each in instances
        }

    def doom(self, instance_ids: Iterable[str], code: str) -> None:
        """Lets the next start of these instances end in `stopped`, as EC2 does when it finds that
        it has no machine, or may not use the volume's key; `code` is what their StateReason says.
        """
        self._doomed |= dict.fromkeys(instance_ids, code)

    async def start(self, instance_ids: Sequence[str]) -> bytes:
        """StartInstances: its answer, as XML; raises AwsError."""
        async with self._one_at_a_time:
            before = await self._states(instance_ids)
            _require(before, ("stopped", "pending", "running"), "The", "started")
            self._require_ours(before)
            moved = [name for name, state in before.items() if state == "stopped"]
            await self._start_in_moto([name for name in moved if name not in self._doomed])
            for name in moved:
                self._launched[name] = datetime.now(UTC)
                doomed = self._doomed.pop(name, "")
                self._reasons[name] = doomed
                self._begin(name, "pending", "stopped" if doomed else "running")
            return _changes("StartInstances", before, {**before, **dict.fromkeys(moved, "pending")})

    async def _start_in_moto(self, instance_ids: Sequence[str]) -> None:
        if instance_ids:
            await asyncio.to_thread(self._client.start_instances, InstanceIds=list(instance_ids))

    async def stop(self, instance_ids: Sequence[str]) -> bytes:
        """StopInstances: its answer, as XML; raises AwsError."""
        async with self._one_at_a_time:
            before = await self._states(instance_ids)
            _require(before, ("running", "stopping", "stopped"), "This", "stopped")
            moved = [name for name, state in before.items() if state == "running"]
            if moved:
                await asyncio.to_thread(self._client.stop_instances, InstanceIds=moved)
            for name in moved:
                self._reasons.pop(name, None)
                self._begin(name, "stopping", "stopped")
            return _changes("StopInstances", before, {**before, **dict.fromkeys(moved, "stopping")})

    def _require_ours(self, before: Mapping[str, str]) -> None:
        """EC2 alone starts a spot instance that it took back."""
        for name, state in before.items():
            if state == "stopped" and self._reasons.get(name) == TAKEN_BACK:
                message = f"EC2 interrupted '{name}', and only EC2 starts it again."
                raise AwsError(400, "IncorrectSpotRequestState", message)

    async def power_off(self, instance_id: str) -> None:
        """The machine went down by itself, which its shutdown behaviour makes a stop."""
        await self._stop_running(instance_id, POWERED_OFF)

    async def take_back(self, instance_id: str) -> None:
        """EC2 stops a spot instance."""
        await self._stop_running(instance_id, TAKEN_BACK)

    async def _stop_running(self, instance_id: str, reason: str) -> None:
        async with self._one_at_a_time:
            if (await self._states([instance_id]))[instance_id] != "running":
                return
            await asyncio.to_thread(self._client.stop_instances, InstanceIds=[instance_id])
            self._reasons[instance_id] = reason
            self._begin(instance_id, "stopping", "stopped")

    async def give_back(self, instance_id: str) -> None:
        """EC2 has capacity again, and starts a spot instance that it took back."""
        if self._reasons.get(instance_id) == TAKEN_BACK:
            del self._reasons[instance_id]
            await self.start([instance_id])

    async def _states(self, instance_ids: Sequence[str]) -> dict[str, str]:
        instances = await self.describe(instance_ids)
        settled = {each["InstanceId"]: each["State"]["Name"] for each in instances}
        return {name: self._between.get(name) or settled[name] for name in instance_ids}

    def _begin(self, instance_id: str, between: str, settled: str) -> None:
        self._between[instance_id] = between
        transition = asyncio.create_task(self._settle(instance_id, between, settled))
        self._transitions.add(transition)
        transition.add_done_callback(self._transitions.discard)

    async def _settle(self, instance_id: str, between: str, settled: str) -> None:
        # EC2 waits for the machine to shut down; here, for those who do so when they hear of it.
        delay_s = self.delays.pending_s if between == "pending" else self.delays.stopping_s
        await asyncio.gather(asyncio.sleep(delay_s), self._tell(instance_id, between))
        del self._between[instance_id]
        await self._tell(instance_id, settled)

    async def _tell(self, instance_id: str, state: str) -> None:
        for listener in self._listeners:
            try:
                answer = listener(instance_id, state)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                _log.exception("a listener failed at %s of %s", state, instance_id)

    def without_state_filters(self, form: bytes) -> bytes:
        """A Describe request that asks moto for all states: moto does not know the ones between."""
        fields = parse_qsl(form.decode(), keep_blank_values=True)
        kept = [field for field in fields if not field[0].startswith("Filter.")]
        # The filters that stay are numbered anew: moto stops reading at a gap.
        number = 0
        for group in _filters(fields):
            if group["Name"] not in _STATE_FILTERS:
                number += 1
                kept += [(f"Filter.{number}.{name}", value) for name, value in group.items()]
        return urlencode(kept).encode()

    def show(self, operation: str, params: Mapping[str, Any], answer: bytes) -> bytes:
        """A Describe answer of moto's with the states between, the launch times and the state
        filters put in.
        """
        root = ElementTree.fromstring(answer)
        for parent in _instance_sets(operation, root):
            for instance in list(parent):
                self._put_state(instance, _text(instance, "instanceId"))
                self._put_reason(instance, _text(instance, "instanceId"))
                if not _wanted(operation, params, _text(instance, "instanceState/name")):
                    parent.remove(instance)
        if operation == "DescribeInstances":
            _drop_empty_reservations(_find(root, "reservationSet"))
        return ElementTree.tostring(root, "utf-8", default_namespace=_NAMESPACE)

    def _put_state(self, instance: ElementTree.Element, name: str) -> None:
        between = self._between.get(name)
        if between is not None:
            _find(instance, "instanceState/name").text = between
            _find(instance, "instanceState/code").text = str(STATE_CODES[between])
        launched = instance.find(_tag("launchTime"))
        # moto keeps the time of the first launch; on EC2 it is the last start's.
        if launched is not None and name in self._launched:
            launched.text = self._launched[name].strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def _put_reason(self, instance: ElementTree.Element, name: str) -> None:
        code = self._reasons.get(name)
        if not code or _text(instance, "instanceState/name") != "stopped":
            return
        reason = instance.find(_tag("stateReason"))
        if reason is None:
            reason = ElementTree.SubElement(instance, _tag("stateReason"))
        for part in list(reason):
            reason.remove(part)
        for tag, text in (("code", code), ("message", f"{code}: {MESSAGES.get(code, 'injected')}")):
            ElementTree.SubElement(reason, _tag(tag)).text = text


def _refusal(error: ClientError) -> AwsError:
    details, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode", 400)
    return AwsError(status, details.get("Code", ""), details.get("Message", ""))


def _require(states: Mapping[str, str], allowed: Iterable[str], article: str, done: str) -> None:
    """EC2 changes all the instances of a call or none."""
    for name, state in states.items():
        if state not in allowed:
            message = f"{article} instance '{name}' is not in a state from which it can be {done}."
            raise AwsError(400, "IncorrectInstanceState", message)


def _changes(operation: str, before: Mapping[str, str], after: Mapping[str, str]) -> bytes:
    items = "".join(_change(name, before[name], after[name]) for name in before)
    body = f"<requestId>local</requestId><instancesSet>{items}</instancesSet>"
    return f'<{operation}Response xmlns="{_NAMESPACE}">{body}</{operation}Response>'.encode()


def _change(name: str, before: str, after: str) -> str:
    states = _state_xml("currentState", after) + _state_xml("previousState", before)
    return f"<item><instanceId>{name}</instanceId>{states}</item>"


def _state_xml(tag: str, state: str) -> str:
    return f"<{tag}><code>{STATE_CODES[state]}</code><name>{state}</name></{tag}>"


def _filters(fields: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Filter.N.* fields by their number, without the prefix."""
    groups: dict[str, dict[str, str]] = {}
    for name, value in fields:
        prefix, _, rest = name.partition(".")
        if prefix == "Filter":
            number, _, part = rest.partition(".")
            groups.setdefault(number, {})[part] = value
    return list(groups.values())


def _wanted(operation: str, params: Mapping[str, Any], state: str) -> bool:
    """Whether a Describe call asks for instances in this state."""
    running_only = operation == "DescribeInstanceStatus" and not params.get("IncludeAllInstances")
    if running_only and state != "running":
        return False
    values = {"instance-state-name": state, "instance-state-code": str(STATE_CODES[state])}
    asked = [each for each in params.get("Filters", ()) if each["Name"] in values]
    return all(values[each["Name"]] in each["Values"] for each in asked)


def _instance_sets(operation: str, root: ElementTree.Element) -> list[ElementTree.Element]:
    if operation == "DescribeInstanceStatus":
        return [_find(root, "instanceStatusSet")]
    return [_find(reservation, "instancesSet") for reservation in _find(root, "reservationSet")]


def _drop_empty_reservations(reservations: ElementTree.Element) -> None:
    for reservation in list(reservations):
        if not len(_find(reservation, "instancesSet")):
            reservations.remove(reservation)


def _tag(path: str) -> str:
    return "/".join(f"{{{_NAMESPACE}}}{part}" for part in path.split("/"))


def _find(element: ElementTree.Element, path: str) -> ElementTree.Element:
    found = element.find(_tag(path))
    if found is None:
        answer = ElementTree.tostring(element, "unicode")
        raise LookupError(f"moto's answer has no {path}: {answer}")
    return found


def _text(element: ElementTree.Element, path: str) -> str:
    return _find(element, path).text or ""

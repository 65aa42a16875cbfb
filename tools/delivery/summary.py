"""What a deployment says when it is over, on stdout and to Slack."""

import json
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from components.naming import stack_name
from recording import revision
from recording.model import ROOT
from tlfif.names import SLACK_PARAMETER
from tools.delivery.shifting import Outcome
from tools.stage import client, parameter

if TYPE_CHECKING:
    from recording.differences import Change

_WITHIN_S = 10.0
# What the pipeline changes of the router, and `pulumi up` does not.
_CODE = ("code", "sourceCodeHash")
_SHORT = 12


def written(stack: str, commit: str, outcome: Outcome, region: str, cost: list[str]) -> str:
    """The summary: what serves, of which commit, what happened, a trace and what it costs."""
    what = f"tl-fif {stack}: {_headline(outcome)}"
    lines = [f"commit {commit}", *outcome.notes]
    if outcome.previous_commit and not outcome.unchanged:
        lines[0] += f" after {outcome.previous_commit[:_SHORT]}"
    if outcome.trace:
        lines.append(f"a call of version {outcome.version}: {trace_url(region, outcome.trace)}")
    return "\n".join([what, *(f"- {line}" for line in (*lines, *cost))])


def _headline(outcome: Outcome) -> str:
    if outcome.failure:
        return f"deployment FAILED: {outcome.failure}"
    if outcome.unchanged:
        return f"version {outcome.version} serves; nothing to deploy"
    return f"version {outcome.version} serves, after version {outcome.previous}"


def trace_url(region: str, trace: str) -> str:
    """Where a trace of X-Ray is shown."""
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
    return f"{console}#xray:traces/{trace}"


# --- what it costs more, and what pulumi has to do


def cost_lines(stack: str, before: str) -> list[str]:
    """The difference of the bill to that of the commit which served before, and the resources for
    which `pulumi up` is due since then; why not, where it cannot be said.
    """
    if not before:
        return ["cost: nobody knows which commit served before"]
    # Pulumi's classes take seconds to import, and not every command compares.
    from recording.differences import differences
    from recording.evaluate import evaluate
    from recording.preview import headline
    from recording.revision import evaluating

    try:
        with evaluating(stack, before) as evaluation:
            new = evaluate(stack)
            old = evaluation.result()
        changes = [each for each in differences(old, new, []) if not _is_ours(each)]
        return [f"cost: {headline(new, old, changes)}", *_due(changes)]
    except Exception as error:
        return [f"cost: unknown against {before[:_SHORT]} ({str(error).splitlines()[0]})"]


def _is_ours(change: "Change") -> bool:
    """Whether only a function's code differs, which the deployment itself has delivered."""
    paths = {each.path.partition(".")[0] for each in change.properties}
    return bool(paths) and paths <= set(_CODE) and "router-function" in change.resource.urn


def _due(changes: "list[Change]") -> list[str]:
    names = [each.resource.name for each in changes]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
    return [f"`pulumi up` is due, unless it was done since, for: {shown}"] if names else []


# --- who hears of it


def tell(stack: str, region: str, text: str) -> str:
    """Posts it to the stack's Slack webhook, if it has one; what was wrong, "" if nothing."""
    name = stack_name(SLACK_PARAMETER, stack)
    try:
        url = parameter(client("ssm", region), name)
    except (BotoCoreError, ClientError) as error:
        return f"Slack was not told: {name} cannot be read: {error}"
    return _posted(url, {"text": text}) if url else ""


def _posted(url: str, message: Mapping[str, Any]) -> str:
    """The webhook is a secret: what is said of a failure does not name it."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        return "Slack was not told: the webhook's address does not begin with https://"
    request = urllib.request.Request(
        url, json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S):
            return ""
    except (OSError, ValueError) as error:
        return f"Slack was not told: {str(error).replace(url, 'the webhook')}"


# --- which commit it is


def commit() -> tuple[str, str]:
    """This checkout's commit, and what of it a version says: with its subject, and whether the
    router differs from it.
    """
    found = _git("rev-parse", "HEAD")
    if not found:
        return "unknown", "of no known commit"
    changed = _git("status", "--porcelain", "--", "functions", "tlfif")
    subject = _git("log", "-1", "--format=%s")
    # Lambda takes 256 characters.
    return found, f"{found}{' with local changes' if changed else ''} {subject}"[:256]


def _git(*arguments: str) -> str:
    try:
        done = revision.git_run(ROOT, *arguments)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.decode().strip()

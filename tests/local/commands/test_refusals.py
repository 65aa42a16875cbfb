"""What is wrong with a stack's configuration is the same one line wherever a person meets it: in a
preview, before a local cloud is started, and in the program under Pulumi's CLI.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.settings import Settings, SettingsError
from local import __main__ as local
from local.commands import demo
from local.control import NoCloudError
from local.engine import cli
from recording import encrypted, preview, shipped
from recording.evaluate import evaluate
from recording.reading import document

pytestmark = pytest.mark.story("RED-001")

SET, RM = "pulumi config set --path", "pulumi config rm"
SECRET = "https://events.pagerduty.com/integration/5ec4e7/enqueue"
SECURE = "{secure: 'v1:abc:def=='}"
# What stands beside `aws:region` in a file; how its refusal begins; and what else that says.
WRONG: dict[str, tuple[str, ...]] = {
    "tlfif:gpu: {count: 2}": (
        "tlfif:gpu = {'count': 2}: ",
        "Did you mean tl-fif:gpu?",
        f"{RM} 'tlfif:gpu'",
    ),
    "tl_fif:gpu: {count: 2}": ("tl_fif:gpu = {", "tl-fif:gpu?", f"{RM} 'tl_fif:gpu'"),
    "TL-FIF:gpu: {count: 2}": ("TL-FIF:gpu = {", "tl-fif:gpu?", f"{RM} 'TL-FIF:gpu'"),
    "tl-fif:gpuu: {count: 2}": ("gpuu = {", "Did you mean gpu?", "rm --path 'tl-fif:gpuu'"),
    "tl-fif:gpu: {cuont: 2}": ("gpu:cuont = 2: ", "gpu:count?", "rm --path 'tl-fif:gpu.cuont'"),
    "aws:regoin: mars": ("aws:regoin = [hidden]: ", "aws:region?", f"{RM} 'aws:regoin'"),
    "awss:profile: me": ("awss:profile = [hidden]: ", "aws:profile?", f"{RM} 'awss:profile'"),
    "tl-fif:gpu.count: 2": (
        "tl-fif:gpu.count = 2: ",
        f"{SET} 'tl-fif:gpu.count' 2",
        f"{RM} 'tl-fif:gpu.count'",
    ),
    "gpu.count: 2": ("tl-fif:gpu.count = 2: ", f"{SET} 'tl-fif:gpu.count' 2"),
    "gpu:count: 2": ("gpu:count = 2: ", f"{SET} 'tl-fif:gpu.count' 2", f"{RM} 'gpu:count'"),
    "tlfif:gpu.count: 2": ("tlfif:gpu.count = 2: ", f"{SET} 'tl-fif:gpu.count' 2"),
    "tl-fif:gpu: [a]": (
        "gpu = [hidden]: gpu is a group of keys",
        f"{SET} 'tl-fif:gpu.<key>' <value>",
        f"{RM} 'tl-fif:gpu'",
    ),
    "tl-fif:gpu: 7": ("gpu = 7: gpu is a group of keys", f"{RM} 'tl-fif:gpu'"),
    "tl-fif:gpu: text": ("gpu = [hidden]: gpu is a group of keys", f"{RM} 'tl-fif:gpu'"),
    "tl-fif:gpu: {count: [2]}": ("gpu:count = [2]: ", f"{SET} 'tl-fif:gpu.count' <value>"),
    "tl-fif:gpu: {count: 2.5}": ("gpu:count = 2.5: ", f"{SET} 'tl-fif:gpu.count' <value>"),
    "tl-fif:gpu: {count: 0o17}": ("gpu:count = 15: ", f"{SET} 'tl-fif:gpu.count' <value>"),
    "tl-fif:gpu: {count: 1:30}": ("gpu:count = '1:30': ", f"{SET} 'tl-fif:gpu.count' <value>"),
    "tl-fif:gpu: {spot: maybe}": ("gpu:spot = 'maybe': ", f"{SET} 'tl-fif:gpu.spot' <value>"),
    "tl-fif:gpu: {amiId: true}": ("gpu:amiId = True: ", f"{SET} 'tl-fif:gpu.amiId' <value>"),
    "tl-fif:budget: {capEur: yes}": ("budget:capEur = 'yes': ", f"{SET} 'tl-fif:budget.capEur' "),
    "tl-fif:budget: {capEur: }": ("budget:capEur = None: ", f"{SET} 'tl-fif:budget.capEur' "),
    "tl-fif:alerts: {email: 2026-01-01}": (
        "alerts:email = '2026-01-01': ",
        f"{SET} 'tl-fif:alerts.email' <value>",
    ),
    "tl-fif:alerts: {email: 7}": ("alerts:email = 7: ", f"{SET} 'tl-fif:alerts.email' <value>"),
    "tl-fif:region: eu-west-1": ("region is no key of tl-fif", f"{RM} 'tl-fif:region'"),
}
# What is a secret and is none, or is none and is one: refused without its value.
HIDDEN: dict[str, tuple[str, ...]] = {
    f"tl-fif:alerts: {{pagerDutyUrl: {SECRET}}}": (
        "alerts:pagerDutyUrl = [hidden]: ",
        f"{SET} --secret 'tl-fif:alerts.pagerDutyUrl' <value>",
    ),
    f"tl-fif:alerts.pagerDutyUrl: {SECRET}": (
        "tl-fif:alerts.pagerDutyUrl = [hidden]: ",
        f"{SET} --secret 'tl-fif:alerts.pagerDutyUrl' <value>",
    ),
    f"tlfif:alerts: {{pagerDutyUrl: {SECRET}}}": (
        "tlfif:alerts = [hidden]: ",
        f"{RM} 'tlfif:alerts'",
    ),
    f"tl-fif:alerts: {{pagerdutyUrl: {SECRET}}}": (
        "alerts:pagerdutyUrl = [hidden]: ",
        "alerts:pagerDutyUrl?",
    ),
    f"tl-fif:budget: {SECURE}": (
        "budget = [hidden]: ",
        f"{RM} 'tl-fif:budget'",
        "without --secret",
    ),
}
COMMANDS = (
    ("demo", "--", "Hi"),
    ("demo", "--engine=pulumi", "--", "Hi"),
    ("up",),
    ("postman",),
    ("budget-drill",),
)


def as_the_cli_hands_it_over(config: Mapping[str, Any]) -> dict[str, str]:
    """PULUMI_CONFIG: scalars as text, everything else as JSON; what is encrypted in clear."""
    opened = encrypted.with_stand_ins(config)
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in opened.items()
    }


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Writes the file of the stack `dev`, which all fronts read, and returns its configuration."""
    monkeypatch.setenv(shipped.STACKS, str(tmp_path))

    def write(line: str) -> dict[str, Any]:
        text = f"encryptionsalt: v1:x\nconfig:\n  aws:region: us-east-1\n  {line}\n"
        (tmp_path / "Pulumi.dev.yaml").write_text(text)
        return document.parse(text.encode())["config"]

    return write


def by_program(config: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the program says under Pulumi's CLI."""
    full = {key if ":" in key else f"tl-fif:{key}": value for key, value in config.items()}
    secret = [key for key, value in full.items() if encrypted.keys({key: value})]
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(as_the_cli_hands_it_over(full)))
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps(secret))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    return str(refused.value)


Said = Callable[..., str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """What `python -m local …`, or another command, says that ends with 1 and says nothing else."""

    def said(*words: str, by: Callable[[], int] = local.main) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        assert by() == 1
        written = capsys.readouterr()
        assert written.out == ""
        (line,) = written.err.splitlines()
        return line.removeprefix("error: ").removeprefix("tl-fif: ")

    return said


@pytest.mark.parametrize("line", [*WRONG, *HIDDEN])
def test_one_mistake_is_the_same_line_in_every_front(
    line: str,
    write: Callable[[str], dict[str, Any]],
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = write(line)
    with pytest.raises(SettingsError) as refused:
        evaluate("dev")
    refusal = str(refused.value)
    start, *others = (WRONG | HIDDEN)[line]
    assert refusal.startswith(start)
    assert [each for each in others if each not in refusal] == []
    assert SECRET not in refusal

    assert said("--stack", "dev", by=preview.main) == refusal
    assert [said(*words) for words in COMMANDS] == [refusal] * len(COMMANDS)
    assert by_program(config, monkeypatch) == refusal


@pytest.mark.parametrize("line", ["tlfif:gpu: {}", "tl-fif:gpu.count: 2", "aws:regoin: mars"])
def test_what_is_deployed_can_be_destroyed_whatever_is_wrong_in_its_settings(
    line: str, write: Callable[[str], dict[str, Any]], said: Said
) -> None:
    write(line)
    assert said("deploy", "destroy") == str(NoCloudError("dev"))


@pytest.mark.parametrize("key", ["gpu:count", "budget:capEur", "delivery:branch"])
def test_a_key_that_is_no_secret_is_refused_as_one_where_it_cannot_be_read(
    key: str, write: Callable[[str], dict[str, Any]], said: Said
) -> None:
    group, name = key.split(":")
    write(f"tl-fif:{group}: {{{name}: {SECURE}}}")
    refusal = said(by=preview.main)
    assert refusal.startswith(f"{key} = [hidden]: it is set as a secret, and is none: ")
    assert refusal.endswith(f"without --secret: {SET} 'tl-fif:{group}.{name}' <value>")
    assert said("deploy", "up") == refusal


@pytest.mark.parametrize(
    "line",
    [
        f"tl-fif:alerts: {{pagerDutyUrl: {SECURE}, email: a@b}}",
        f"tl-fif:alerts: {{email: {SECURE}}}",
        f"tl-fif:alerts: {SECURE}",
        f"aws:token: {SECURE}",
        "other:gpuCount: 2",
        "pulumi:tags: {a: b}",
        "aws:skipRegionValidation: true",
        "gpu: {count: 2}",
    ],
)
def test_what_is_right_or_somebody_elses_is_taken(
    line: str, write: Callable[[str], dict[str, Any]]
) -> None:
    write(line)
    assert evaluate("dev").resources


def test_a_stack_that_there_is_not_is_told_with_those_that_there_are(
    write: Callable[[str], dict[str, Any]], said: Said
) -> None:
    write("")
    refusal = "there is no stack 'produ'; there are: dev"
    assert said("--stack", "produ", by=preview.main) == refusal
    for command, *more in (*COMMANDS, ("deploy", "up"), ("deploy", "destroy"), ("pipeline",)):
        assert said(command, "--stack", "produ", *more) == refusal


# --- a demo's prompt, and other arguments, before anything is started


@pytest.mark.parametrize(
    ("prompt", "refusal"),
    [
        ("", "PROMPT = '': it is blank; "),
        (" \t\n", r"PROMPT = ' \t\n': it is blank; "),
        (
            "x" * 6001,
            f"PROMPT = '{'x' * 60}'…: it is 6001 bytes long in UTF-8, and ",
        ),
        ("ü" * 3001, f"PROMPT = '{'ü' * 60}'…: it is 6002 bytes long in UTF-8"),
        ("\udcff", r"PROMPT = '\udcff': it is no text in UTF-8"),
    ],
)
def test_a_prompt_that_the_api_would_refuse_is_refused_before_anything_is_started(
    prompt: str, refusal: str, said: Said
) -> None:
    assert said("demo", "--", prompt).startswith(refusal)


@pytest.mark.parametrize("prompt", ["-x", "--help", "x" * 6000, "ü" * 3000, "$5 `x`"])
def test_any_other_prompt_is_asked(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begins(Exception):
        """The demo would start its cloud."""

    def begins(*_: Any, **__: Any) -> None:
        raise Begins

    monkeypatch.setattr(demo, "LocalCloud", begins)
    monkeypatch.setattr(sys, "argv", ["local", "demo", "--", prompt])
    with pytest.raises(Begins):
        local.main()


@pytest.mark.parametrize("function", ["rooter", "../router", "", "-x"])
def test_a_function_that_there_is_not_is_told_before_anything_is_started(
    function: str, said: Said
) -> None:
    line = said("invoke", "--", function, "docs/events/router-infer.json")
    assert line.startswith(f"FUNCTION = {function!r}: there are authorizer, ")


# --- secrets under Pulumi's own engine here


def test_a_secret_is_apart_from_what_is_written_into_the_copy_of_the_file() -> None:
    settings = {
        "aws:region": "us-east-1",
        "tl-fif:alerts": {"pagerDutyUrl": SECRET, "email": "a@b"},
    }
    left, secrets = cli._apart(settings)
    assert left == {"aws:region": "us-east-1", "tl-fif:alerts": {"email": "a@b"}}
    assert secrets == {"tl-fif:alerts.pagerDutyUrl": SECRET}

"""A stack file with encrypted values is evaluated without its passphrase, and says with what."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.settings import Settings, SettingsError
from recording import encrypted, preview
from recording.engine import SECRET
from recording.evaluate import configuration, evaluate
from recording.model import ROOT

SECURE = {"secure": "v1:abc:def=="}
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
EXAMPLE = "https://secret.invalid/integration"

CASES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"tl-fif:gpu": {"count": 2}}, {"tl-fif:gpu": {"count": 2}}, []),
    (
        {"tl-fif:alerts": {"pagerDutyUrl": SECURE, "email": "a@b"}},
        {"tl-fif:alerts": {"pagerDutyUrl": EXAMPLE, "email": "a@b"}},
        ["tl-fif:alerts.pagerDutyUrl"],
    ),
    (
        {"tl-fif:alerts": SECURE},
        {"tl-fif:alerts": {"pagerDutyUrl": EXAMPLE, "email": "secret@secret.invalid"}},
        ["tl-fif:alerts"],
    ),
    ({"aws:secretKey": SECURE}, {}, ["aws:secretKey"]),
]


@pytest.mark.parametrize(("given", "opened", "keys"), CASES)
def test_what_is_encrypted_gets_a_value_that_the_settings_take(
    given: dict[str, Any], opened: dict[str, Any], keys: list[str]
) -> None:
    assert encrypted.with_stand_ins(given) == opened
    assert encrypted.keys(given) == keys
    Settings.parse({"aws:region": "us-east-1", **opened})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"tl-fif:gpu": SECURE}, "tl-fif:gpu"),
        ({"tl-fif:gpu": {"count": SECURE}}, "tl-fif:gpu.count"),
        ({"gateway": {"extraPingCidrs": ["::/0", SECURE]}}, "tl-fif:gateway.extraPingCidrs"),
        ({"tl-fif:alerts": {"email": "a@b"}, "tl-fif:gpu": {"count": SECURE}}, "tl-fif:gpu.count"),
    ],
)
def test_what_is_encrypted_and_no_secret_is_refused_with_the_fix(
    given: dict[str, Any], key: str, tmp_path: Path
) -> None:
    text = yaml.safe_dump({"config": {"aws:region": "us-east-1", **given}})
    with pytest.raises(SettingsError, match=r"^[^\n]* = \[hidden\]: [^\n]*$") as refused:
        evaluate("dev", project_dir=project(tmp_path, text))
    assert f"'{key}" in str(refused.value)


@pytest.mark.parametrize("given", [{"tl-fif:gpus": SECURE}, {"tl-fif:gpu": {"cuont": SECURE}}])
def test_an_encrypted_key_that_does_not_exist_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="no such key"):
        Settings.parse({"aws:region": "us-east-1", **encrypted.with_stand_ins(given)})


def project(folder: Path, text: str) -> Path:
    """The program beside a stack file `dev` of one's own."""
    for name in ("__main__.py", "Pulumi.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "Pulumi.dev.yaml").write_text(text)
    return folder


def test_the_program_runs_on_an_encrypted_file_and_a_preview_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "aws:region": "us-east-1",
        "tl-fif:alerts": {"pagerDutyUrl": SECURE},
    }
    text = yaml.safe_dump({"encryptionsalt": "v1:salt", "config": config})
    on_file = partial(evaluate, project_dir=project(tmp_path, text))
    with caplog.at_level(logging.WARNING):
        recording = on_file("dev")
    said = "encrypted, and without the passphrase a stand-in was taken: tl-fif:alerts.pagerDutyUrl"
    assert [each.getMessage() for each in caplog.records] == [said]
    subscription = recording.one(SUBSCRIPTION, "alerts-pagerduty")
    assert subscription.inputs["endpoint"] == subscription.outputs["endpoint"] == SECRET
    monkeypatch.setattr(preview, "evaluate", on_file)
    shown = preview.preview("dev")
    assert f"warning: {said}" in shown
    assert "secret.invalid" not in shown


def test_a_secret_in_clear_is_in_no_recording() -> None:
    url = "https://events.pagerduty.com/integration/0123456789abcdef0123/enqueue"
    recording = evaluate("dev", config={"tl-fif:alerts": {"pagerDutyUrl": url}})
    assert url not in repr(recording)


@pytest.mark.parametrize("neighbour", [SECURE, "a@b"])
def test_a_secret_in_plain_text_is_refused_whatever_its_neighbour_is(
    neighbour: Any, tmp_path: Path
) -> None:
    alerts = {"pagerDutyUrl": "https://hunter2", "email": neighbour}
    text = yaml.safe_dump({"config": {"aws:region": "us-east-1", "tl-fif:alerts": alerts}})
    with pytest.raises(SettingsError, match=r"^alerts:pagerDutyUrl = \[hidden\]: it is a secret"):
        evaluate("dev", project_dir=project(tmp_path, text))


def test_a_group_as_json_text_is_set_key_by_key(tmp_path: Path) -> None:
    gpu = '{"count": 2, "idleMinutes": 7}'
    text = yaml.safe_dump({"config": {"aws:region": "us-east-1", "tl-fif:gpu": gpu}})
    config = {"tl-fif:gpu": {"count": 3}}
    read = configuration("dev", project_dir=project(tmp_path, text), config=config)
    assert read["tl-fif:gpu"] == {"count": 3, "idleMinutes": 7}


@pytest.mark.parametrize("text", ["name: [", "runtime: python", "- a", "x", "", "name: {}"])
def test_a_project_file_without_a_name_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    project(tmp_path, "config: {aws:region: us-east-1}")
    (tmp_path / "Pulumi.yaml").unlink()
    (tmp_path / "Pulumi.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"^Pulumi\.yaml (has no name|is no project's)[^\n]*$"):
        evaluate("dev", project_dir=tmp_path)


@pytest.mark.parametrize("text", ["[", "- a", "config: [1]", "config: 7", "x: &a [*a"])
def test_a_file_that_is_no_stack_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"^Pulumi.dev.yaml is no stack file [^\n]*$"):
        evaluate("dev", project_dir=project(tmp_path, text))


@pytest.mark.parametrize("text", ["", "config:", "encryptionsalt: v1:x"])
def test_a_file_without_a_region_is_refused_by_that(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="aws:region"):
        evaluate("dev", project_dir=project(tmp_path, text))

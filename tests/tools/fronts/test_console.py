"""`make console`: the outputs of a stack become a folder, or one line says why not."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gui import site
from tools.fronts import console

OUTPUTS = {
    "api_url": "https://abc.execute-api.eu-west-1.amazonaws.com/v1",
    "user_pool_id": "eu-west-1_Abc123",
    "user_pool_client_id": "client",
}


@pytest.fixture(autouse=True)
def nobody_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "FOLDERS", tmp_path / "consoles")


def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outputs: Any = OUTPUTS, *arguments: str
) -> int:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs))
    argv = ["console", "--outputs", str(file), "--no-serve", *arguments]
    monkeypatch.setattr(sys, "argv", argv)
    return console.main()


def test_the_outputs_become_the_consoles_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, tmp_path, OUTPUTS, "--stack", "prod") == 0
    config = json.loads((tmp_path / "consoles" / "prod" / "config.json").read_text())
    assert config == {
        "apiUrl": OUTPUTS["api_url"],
        "cognitoUrl": "https://cognito-idp.eu-west-1.amazonaws.com/",
        "clientId": "client",
        "userPoolId": "eu-west-1_Abc123",
        "stack": "prod",
    }


def test_it_is_written_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, tmp_path, OUTPUTS, "--folder", str(tmp_path / "here")) == 0
    assert (tmp_path / "here" / "index.html").exists()


@pytest.mark.parametrize("stack", ["../../etc", "acme/tl-fif/prod", "/etc", "..", "a b"])
def test_a_stacks_name_does_not_lead_out_of_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    assert run(monkeypatch, tmp_path, OUTPUTS, f"--stack={stack}") == 0
    (written,) = (tmp_path / "consoles").iterdir()
    assert json.loads((written / "config.json").read_text())["stack"] == stack


def test_a_local_clouds_cognito_is_where_every_command_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert run(monkeypatch, tmp_path, OUTPUTS) == 0
    config = json.loads((tmp_path / "consoles" / "dev" / "config.json").read_text())
    assert config["cognitoUrl"] == "http://127.0.0.1:4566/"


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({**OUTPUTS, "api_url": None}, "api_url"),
        ({**OUTPUTS, "user_pool_client_id": ""}, "user_pool_client_id"),
        ({}, "api_url"),
        ([], "gave no stack outputs: it is a list"),
        ({**OUTPUTS, "user_pool_id": "Abc"}, "user_pool_id = 'Abc', from "),
        ({**OUTPUTS, "user_pool_id": 7}, "user_pool_id = 7, from "),
        ({**OUTPUTS, "api_url": "nowhere"}, "api_url = 'nowhere', from "),
        ({**OUTPUTS, "api_url": ["x"]}, "api_url = ['x'], from "),
        ({**OUTPUTS, "api_url": "http://example.org"}, "would have tokens sent in clear"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outputs: Any,
    says: str,
) -> None:
    assert run(monkeypatch, tmp_path, outputs) == 1
    err = capsys.readouterr().err
    assert err.startswith("tl-fif: ")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "consoles").exists()


def test_it_is_served_and_opened_until_it_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(console.webbrowser, "open", opened.append)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "_until_ctrl_c", ctrl_c)
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS))
    monkeypatch.setattr(sys, "argv", ["console", "--outputs", str(file), "--port", "0"])
    assert console.main() == 0
    assert opened[0].startswith("http://localhost:")
    assert opened[0] in capsys.readouterr().out


def test_a_port_that_is_taken_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path) == 0
    with site.Site(tmp_path / "consoles" / "dev", [0] * 5) as other:
        argv = ["console", "--outputs", str(tmp_path / "outputs.json"), "--port", str(other.port)]
        monkeypatch.setattr(sys, "argv", argv)
        assert console.main() == 1
    assert f"port {other.port} cannot be had" in capsys.readouterr().err

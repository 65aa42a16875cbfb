"""A stack's file is read as Pulumi's CLI reads it, by Go's yaml.v3, or refused in one line."""

import math
from pathlib import Path
from typing import Any

import pytest

from components.settings import SettingsError
from recording import shipped
from recording.model import ROOT
from recording.reading import document, stack_file

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("010", 8),
        ("0o10", 8),
        ("0x1f", 31),
        ("-0b11", -3),
        ("08", 8.0),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("1:30", "1:30"),
        ("0x_", "0x_"),
        ("-0b_", "-0b_"),
        ("0x_f", 15),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ("9" * 5000, "9" * 5000),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
    ],
)
def test_a_value_is_what_it_is_to_the_cli(text: str, value: Any) -> None:
    read = document.parse(f"key: {text}\n".encode())
    assert read == {"key": value}
    assert type(read["key"]) is type(value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa: 1\r\nb: caf\xc3\xa9\r\n",
        "a: 1\r\nb: café\r\n".encode("utf-16"),
        "a: 1\nb: café".encode(),
    ],
    ids=["BOM and CRLF", "UTF-16", "UTF-8"],
)
def test_an_editor_of_windows_changes_nothing(content: bytes) -> None:
    assert document.parse(content) == {"a": 1, "b": "café"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a:\n\tb: 1", r"line 2, column 1: .*'\\t'.*; indent by spaces"),
        (b"a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is there twice, first in line 1; "),
        (b"a: {b: 1, b: 2}", "the key 'b' is there twice"),
        (b"2: x", "the key '2' is no text; put it in quotes, or remove it"),
        (b"true: x", "the key 'true' is no text"),
        (b"? [a]\n: x", "is a list or a map is no text"),
        (b"a: 1\nb: \xfc", "line 2: byte 0xfc is not UTF-8; save the file as UTF-8"),
        (b"a: \x00", "#x0000; remove it"),
        (b"a: !secret x", "line 1, column 4: .*tag '!secret'; remove it"),
        (b"a: !!python/object/apply:os.system [x]", "tag .*; remove it"),
        (b"a: !!int x", "line 1, column 4: a tag names another kind"),
        (b'a: 1\nb: "\\U00110000"', "line 2, column [0-9]+: the escape names no character"),
        (b'a: 1\nb: "\\UFFFFFFFF"', "line 2, column [0-9]+: the escape names no character"),
        (b"a: !!map [b]", "line 1, column 4: expected a mapping"),
        (b"a: &a {b: 1}\nd: {<<: *a, c: 1, c: 2}", "line 2, .* the key 'c' is there twice"),
        (b"a: 1\n---\nb: 2", "line 2, column 1: but found another document"),
        (b"a: [1", "line 1, column 6"),
        (b"[" * 5000, "it is nested too deeply"),
        (b"a: &a {b: *a}", "it holds itself"),
        (LAUGHS.encode(), "too many values; write out what is an alias"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place_and_the_fix(
    content: bytes, said: str
) -> None:
    with pytest.raises(document.DocumentError, match=said) as refused:
        document.parse(content)
    assert len(str(refused.value).splitlines()) == 1


def test_a_map_is_merged_as_often_as_it_is_named() -> None:
    text = b"a: &a {b: 1}\nx: {inner: &c {<<: *a, b: 2}}\nd: {<<: *c}\ne: [*c, {<<: [*a, *c]}]"
    read = document.parse(text)
    assert (read["x"], read["d"]) == ({"inner": {"b": 2}}, {"b": 2})
    assert read["e"][0] == {"b": 2}


# --- the file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stacks are, of which there is `dev`."""
    monkeypatch.setenv(shipped.STACKS, str(tmp_path))
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {aws:region: us-east-1}")
    (tmp_path / "Pulumi.a.b.yaml").write_text("")
    return tmp_path


def read(folder: Path, text: str) -> dict[str, Any]:
    (folder / "Pulumi.dev.yaml").write_text(text)
    return stack_file.read("dev", ROOT)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", {}),
        ("config:", {}),
        ("encryptionsalt: v1:x", {}),
        ("config: {gpu: {count: 2}}", {"tl-fif:gpu": {"count": 2}}),
        ("config: {tl-fif:config:gpu: {count: 2}}", {"tl-fif:gpu": {"count": 2}}),
        ("x-two: &two {count: 2}\nconfig: {gpu: *two}", {"tl-fif:gpu": {"count": 2}}),
    ],
)
def test_keys_are_completed_as_by_the_cli(text: str, config: dict[str, Any], folder: Path) -> None:
    assert read(folder, text) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "is no stack file with a map `config`: it is a list"),
        ("7", "it is 7"),
        ("config: [https://hush]", "`config` is a list; indent its keys below it"),
        ("config: text", "`config` is text; indent"),
        ("confg: {aws:region: us-east-1}", "'confg' is no part .* Did you mean config"),
        ("Config: {aws:region: us-east-1}", "'Config' is no part .* Did you mean config"),
        ("tl-fif:gpu: {count: 2}", "'tl-fif:gpu' is no part .*; indent it below `config:`"),
        ("gpu: {count: 2}", "'gpu' is no part .*; indent it below `config:`"),
        ("config: {gpu: {}, tl-fif:gpu: {}}", "'tl-fif:gpu' is tl-fif:gpu, which is there too"),
        ("config: {a:b:c: 1}", "'a:b:c' is no key such as tl-fif:gpu"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(text: str, said: str, folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"^Pulumi.dev.yaml.*{said}") as refused:
        read(folder, text)
    assert len(str(refused.value).splitlines()) == 1
    assert "hush" not in str(refused.value)


def test_a_folder_in_its_place_is_refused_by_name(folder: Path) -> None:
    (folder / "Pulumi.dev.yaml").unlink()
    (folder / "Pulumi.dev.yaml").mkdir()
    with pytest.raises(SettingsError, match=r"^Pulumi.dev.yaml cannot be read: Is a directory\. "):
        stack_file.read("dev", ROOT)


def test_a_file_that_may_not_be_read_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(
        SettingsError, match=r"cannot be read: Permission denied\. [^\n]* chmod u\+r "
    ):
        stack_file.read("dev", ROOT)


@pytest.mark.parametrize(
    "stack", ["produ", "", ".", "..", "../x", "x/../dev", "/dev", "*", "[d]ev", "a" * 300, "\udcff"]
)
def test_a_stack_that_there_is_not_is_told_with_those_that_there_are(
    stack: str, folder: Path
) -> None:
    (folder.parent / "Pulumi.x.yaml").write_text("config: {}")
    with pytest.raises(FileNotFoundError, match=r"there is no stack .*; there are: a\.b, dev$"):
        stack_file.read(stack, ROOT)

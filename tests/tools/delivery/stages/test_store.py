"""What is left in the pipeline's bucket for people to read."""

from pathlib import Path
from typing import Any

import boto3
import pytest

from tools.delivery import store

pytestmark = [pytest.mark.story("CI-002"), pytest.mark.usefixtures("account")]


def test_every_file_of_a_folder_is_stored_as_what_it_is(run: Any, tmp_path: Path) -> None:
    (tmp_path / "pages/deep").mkdir(parents=True)
    (tmp_path / "pages/index.html").write_text("<p>")
    (tmp_path / "pages/deep/client.log").write_text("ü")
    arguments = (tmp_path / "pages", "coverage/abc", "--bucket", "artifacts")
    assert run(store.main, *arguments) == 0
    s3 = boto3.client("s3")
    page = s3.get_object(Bucket="artifacts", Key="coverage/abc/index.html")
    assert page["ContentType"] == "text/html"
    log = s3.get_object(Bucket="artifacts", Key="coverage/abc/deep/client.log")
    assert (log["ContentType"], log["Body"].read().decode()) == ("text/plain", "ü")


@pytest.mark.parametrize(
    ("folder", "bucket", "says"),
    [
        ("nothing", "artifacts", "nothing has no file to store at s3://artifacts/p/"),
        ("here", "no-such-bucket", "s3://no-such-bucket/p/file was not stored:"),
    ],
)
def test_what_cannot_be_stored_is_one_line(
    run: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    bucket: str,
    says: str,
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/file").write_text("x")
    assert run(store.main, tmp_path / folder, "p", "--bucket", bucket) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1

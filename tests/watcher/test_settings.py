"""What the watcher is told, and what it says when that cannot be used."""

import json

import pytest

from tlfif import names, serving
from watcher import instance
from watcher.instance import Instance, InstanceError
from watcher.settings import Settings, SettingsError, parse

PARAMETER = {
    "TLFIF_STACK": "dev",
    "TLFIF_REGION": "eu-west-1",
    "TLFIF_REDIS_HOST": "queue.internal",
    "TLFIF_REDIS_PORT": "6379",
    "TLFIF_REPLIES_BUCKET": "replies-1",
    "TLFIF_MODEL": "tinyllama",
    "TLFIF_GPU_SLOTS": "32",
    "TLFIF_IDLE_MINUTES": "5",
    "TLFIF_MAX_LIFETIME_HOURS": "4",
}
IDENTITY = json.dumps(
    {"instanceId": "i-1", "region": "eu-west-1", "pendingTime": "2026-11-23T19:00:00Z"}
)


def this(**user_data: str) -> Instance:
    return instance.parse(json.dumps({"TLFIF_STACK": "dev", **user_data}), IDENTITY)


def told(
    environ: dict[str, str] | None = None,
    image: serving.Model | None = None,
    **changes: str | None,
) -> Settings:
    parameter = {key: value for key, value in {**PARAMETER, **changes}.items() if value is not None}
    return parse(json.dumps(parameter), this(), environ or {}, image)


def test_the_parameter_becomes_settings() -> None:
    settings = told()
    assert (settings.stack, settings.redis_port, settings.gpu_slots) == ("dev", 6379, 32)
    assert (settings.instance_id, settings.started_at) == ("i-1", 1795460400.0)
    assert settings.model_url == f"http://127.0.0.1:{names.MODEL_PORT}"
    assert (settings.idle_s(5), settings.max_lifetime_s) == (300, 4 * 3600)
    assert (settings.lease_renew_s, settings.lease_idle_s) == (
        names.LEASE_RENEW_S,
        names.LEASE_IDLE_S,
    )


def test_the_environment_overrides() -> None:
    settings = told(
        {
            "TLFIF_SECONDS_PER_MINUTE": "0.5",
            "TLFIF_MODEL_URL": "http://127.0.0.1:1",
            "HOME": "/root",
        }
    )
    assert (settings.idle_s(5), settings.max_lifetime_s, settings.model_url) == (
        2.5,
        120,
        "http://127.0.0.1:1",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"TLFIF_REDIS_HOST": None},
            "TLFIF_REDIS_HOST is missing from the parameter /tl-fif/dev/node: run 'pulumi up'",
        ),
        ({"TLFIF_GPU_SLOTS": "many"}, "TLFIF_GPU_SLOTS = 'many': .*valid integer.*; correct it"),
        ({"TLFIF_IDLE_MINUTES": "31"}, "TLFIF_IDLE_MINUTES = '31': .*less than or equal to 30"),
        ({"TLFIF_REPLIES_BUCKET": ""}, "TLFIF_REPLIES_BUCKET = ''"),
    ],
)
def test_what_cannot_be_used_is_named_with_value_and_fix(
    changes: dict[str, str | None], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        told(**changes)


@pytest.mark.parametrize("parameter", ["", "#!/bin/sh", "[1]"])
def test_a_parameter_that_is_no_object_is_refused(parameter: str) -> None:
    with pytest.raises(SettingsError, match="/tl-fif/dev/node must be one flat JSON object"):
        parse(parameter, this(), {})


@pytest.mark.story("EC2-003")
def test_a_node_made_before_there_was_a_parameter_reads_either() -> None:
    old = this(**{**PARAMETER, "TLFIF_GPU_SLOTS": "16"})
    assert parse(None, old, {}).gpu_slots == 16
    assert parse(json.dumps(PARAMETER), old, {}).gpu_slots == 32
    with pytest.raises(SettingsError, match="TLFIF_REDIS_HOST is missing from the parameter"):
        parse(None, this(), {})


@pytest.mark.parametrize("user_data", ["", "#!/bin/sh", "[1]", "{}", '{"TLFIF_STACK": ""}'])
def test_user_data_that_does_not_name_the_stack_is_refused(user_data: str) -> None:
    with pytest.raises(InstanceError, match="must be one flat JSON object"):
        instance.parse(user_data, IDENTITY)


def test_outside_an_instance_it_says_so() -> None:
    with pytest.raises(
        InstanceError, match=r"no metadata from http://127.0.0.1:9 .*on an instance only"
    ):
        instance.ask({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9/"})


@pytest.mark.story("EC2-004")
def test_a_node_whose_parameter_is_older_has_the_usual_allowance() -> None:
    assert (told().boot_allowance_s, told().gpu_eur_per_hour) == (600, None)
    scaled = told({"TLFIF_SECONDS_PER_MINUTE": "0.5"}, TLFIF_BOOT_ALLOWANCE_MINUTES="12")
    assert scaled.boot_allowance_s == 720, "engines load no faster on a scaled clock"


def test_a_refusal_knows_the_queue_that_it_was_told_of() -> None:
    with pytest.raises(SettingsError) as refused:
        told(TLFIF_GPU_SLOTS="many")
    assert refused.value.queue == ("queue.internal", 6379)
    with pytest.raises(SettingsError) as refused:
        told(TLFIF_REDIS_HOST=None)
    assert refused.value.queue is None


# --- the model

BAKED = serving.Model(
    repository="a/b",
    revision="c" * 40,
    file="",
    sha256="",
    format="safetensors",
    served_name="qwen",
    context_tokens=8_192,
)


@pytest.mark.story("EC2-002")
def test_a_parameter_from_before_there_was_a_choice_means_the_default_context() -> None:
    assert told().context_tokens == names.DEFAULT_CONTEXT_TOKENS
    assert told(TLFIF_CONTEXT_TOKENS="4096").context_tokens == 4_096


@pytest.mark.story("EC2-002")
def test_an_image_knows_its_own_model_best(capsys: pytest.CaptureFixture[str]) -> None:
    same = told(image=BAKED, TLFIF_MODEL="qwen", TLFIF_CONTEXT_TOKENS="8192")
    assert (same.model, same.context_tokens) == ("qwen", 8_192)
    assert capsys.readouterr().out == ""
    newer = told(image=BAKED, TLFIF_MODEL="llama", TLFIF_CONTEXT_TOKENS="32768")
    assert (newer.model, newer.context_tokens) == ("qwen", 8_192)
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["fix"]) == ("other_model", "bake the image again")
    by_hand = told({"TLFIF_MODEL": "mine"}, image=BAKED)
    assert by_hand.model == "mine"

"""Every key, set to values that it cannot have: a line that names key, value and fix, and no other
exception.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support.recordings import evaluate

from components.settings import Settings, SettingsError
from components.settings_errors import LONGEST
from tlfif import environment, names
from tools.readme import configuration_keys
from watcher import settings as watcher
from watcher.instance import Instance

KEYS = dict(configuration_keys())
REGION = {"aws:region": "us-east-1"}
HUGE, DEEP = "x" * 100_000, json.loads("[" * 400 + "]" * 400)
# No key takes any of these.
NEVER = [{"a": 1}, {}, [{}], [[]], DEEP, HUGE, "", "\x00\n", "ü\ud800", 10**5000, -1, float("nan")]
NEVER += [float("inf"), "1e999"]


def refused(config: Mapping[str, Any], secret: tuple[str, ...] = ()) -> str | None:
    try:
        Settings.parse({**REGION, **config}, secret)
    except SettingsError as error:
        return str(error)
    return None


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", NEVER, ids=lambda value: str(type(value).__name__))
def test_a_value_that_no_key_takes_is_refused_in_one_line(key: str, value: Any) -> None:
    group, name = key.split(":")
    said = refused({f"tl-fif:{group}": {name: value}})
    assert said is not None
    for line in said.splitlines():
        assert line.startswith((f"{key} = ", f"{group}:{name} = "))
        assert len(line) < 5 * LONGEST
        index = "[0]" if key == "gateway:extraPingCidrs" else ""
        assert f"'tl-fif:{group}.{name}{index}' <value>" in line


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [None, True, 0, [], "null", 1.5, "2026-01-01"])
def test_a_value_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    group, name = key.split(":")
    said = refused({f"tl-fif:{group}": {name: value}})
    assert said is None or said.startswith(f"{key} = ")


@pytest.mark.parametrize(
    "key", [key for key, field in KEYS.items() if field.annotation is not bool]
)
def test_a_switch_is_no_number(key: str) -> None:
    group, name = key.split(":")
    said = refused({f"tl-fif:{group}": {name: True}})
    assert said is not None
    assert said.startswith(f"{key} = ")


@pytest.mark.parametrize("value", ["yes", "on", "True", "1", 1, 0, 1.0, "y", None, "[]"])
def test_a_switch_is_true_or_false(value: Any) -> None:
    said = refused({"tl-fif:gpu": {"spot": value}})
    assert said is not None
    assert said.startswith(f"gpu:spot = {value!r}: must be true or false. ")


@pytest.mark.parametrize("value", [True, False, "true", "false"])
def test_a_switch_may_be_the_text_that_the_cli_writes(value: Any) -> None:
    settings = Settings.parse({**REGION, "tl-fif:gpu": {"spot": value}})
    assert settings.gpu.spot is (value in (True, "true"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10.0.0.0/8", "must be a list, even of one. "),
        (["10.0.0.0/255.255.255.0"], "must be a network such as "),
        (["10.0.0.0/0.0.0.255"], "must be a network such as "),
        (["fe80::%eth0/64"], "must be a network such as "),
        (["10.0.0.0/08"], "must be a network such as "),
        (["10.0.0.0/33"], "'10.0.0.0/33' does not appear"),
        (["10.0.0.0/8", "::/0", "10.0.0.0/8"], "has 10.0.0.0/8 twice; keep one of them. "),
        (["2001:db8::/32", "2001:DB8:0::/32"], "has 2001:DB8:0::/32 twice"),
    ],
)
def test_networks_are_a_list_of_different_ones(value: Any, said: str) -> None:
    found = refused({"tl-fif:gateway": {"extraPingCidrs": value}})
    assert found is not None
    assert found.startswith("gateway:extraPingCidrs = ")
    assert f": {said}" in found
    assert "tuple" not in found
    assert found.endswith("--path 'tl-fif:gateway.extraPingCidrs[0]' <value>")


@pytest.mark.parametrize("group", sorted({key.partition(":")[0] for key in KEYS}))
@pytest.mark.parametrize("value", [None, [], "", "x", 7, True, HUGE, "[" * 100_000, {"ü\n": {}}])
def test_a_group_that_is_none_is_refused_in_one_line(group: str, value: Any) -> None:
    said = refused({f"tl-fif:{group}": value})
    assert said is not None
    (line,) = said.splitlines()
    assert line.startswith((f"{group} = ", f"{group}:"))
    assert len(line) < 1000


@pytest.mark.parametrize("value", [None, "", 7, {"a": 1}, [], HUGE])
def test_a_region_that_is_none_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^aws:region = .*Choose one of[^\n]*$"):
        Settings.parse({"aws:region": value})


def test_the_region_is_no_key_of_ours() -> None:
    assert "the region is aws:region" in str(refused({"tl-fif:region": "eu-west-1"}))


# --- values that are good alone


@pytest.mark.story("EC2-004")
@pytest.mark.parametrize(
    ("group", "values", "said"),
    [
        (
            "gpu",
            {"maxLifetimeHours": 0.5, "idleMinutes": 30},
            "gpu:maxLifetimeHours = 0.5 and gpu:idleMinutes = 30 do not go together: .*"
            "set --path 'tl-fif:gpu.maxLifetimeHours' 0.75",
        ),
        (
            "costs",
            {"imageGb": 31},
            "costs:imageGb = 31 and gpu:diskGb = 30 .*set --path 'tl-fif:gpu.diskGb' 31",
        ),
        (
            "gpu",
            {"wake": "never", "tlsIngress": True},
            "gpu:tlsIngress = true and gpu:wake = never do not go together: .*"
            "set --path 'tl-fif:gpu.tlsIngress' false",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_name(
    group: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{said}$"):
        Settings.parse({**REGION, f"tl-fif:{group}": values})


@pytest.mark.story("EC2-001")
@pytest.mark.parametrize("wake", ["backlog", "never"])
def test_nodes_that_are_not_woken_for_every_job_need_the_lane(wake: str) -> None:
    config = {"tl-fif:gpu": {"wake": wake}, "tl-fif:cpu": {"enabled": False}}
    said = refused(config)
    assert said is not None
    assert said.startswith(f"gpu:wake = {wake} and cpu:enabled = false do not go together: ")
    assert said.endswith("pulumi config set --path 'tl-fif:cpu.enabled' true")
    assert refused({"tl-fif:gpu": {"wake": wake}}) is None
    assert refused({"tl-fif:cpu": {"enabled": False}}) is None


@pytest.mark.story("EC2-004")
def test_a_lifetime_that_passes_in_booting_is_refused() -> None:
    shortest_s = names.MIN_LIFETIME_HOURS * 3600
    assert shortest_s >= names.LONGEST_BOOT_S + names.JOB_TTL_S
    said = refused({"tl-fif:gpu": {"maxLifetimeHours": 0.2}})
    assert said is not None
    assert said.startswith("gpu:maxLifetimeHours = 0.2: input should be greater than or equal")


EXTREMES = {
    "least": {
        "slots": 1,
        "idleMinutes": 1,
        "maxLifetimeHours": 0.5,
        "bootAllowanceMinutes": 3,
        "diskGb": 20,
        "count": 1,
    },
    "most": {
        "slots": 32,
        "idleMinutes": 30,
        "maxLifetimeHours": 24,
        "bootAllowanceMinutes": 60,
        "diskGb": 1000,
        "count": 8,
    },
}


@pytest.mark.story("EC2-003")
@pytest.mark.parametrize("which", EXTREMES)
def test_whatever_the_settings_take_the_watcher_takes(which: str) -> None:
    gpu = Settings.parse({**REGION, "tl-fif:gpu": EXTREMES[which]}).gpu
    told = environment.Node.variables(
        stack="dev",
        region="us-east-1",
        redis_host="queue",
        redis_port=6379,
        replies_bucket="replies",
        model=names.DEFAULT_SERVED_MODEL,
        gpu_slots=gpu.slots,
        idle_minutes=gpu.idle_minutes,
        max_lifetime_hours=gpu.max_lifetime_hours,
        boot_allowance_minutes=gpu.boot_allowance_minutes,
        gpu_eur_per_hour=0.4624,
    )
    this = Instance(id="i-1", region="us-east-1", stack="dev", started_at=0)
    read = watcher.parse(json.dumps(told), this, {})
    assert (read.gpu_slots, read.gpu_eur_per_hour) == (gpu.slots, 0.4624)
    assert read.boot_allowance_s == 60 * gpu.boot_allowance_minutes


@pytest.mark.parametrize("which", EXTREMES)
def test_the_program_takes_the_extremes(which: str) -> None:
    bounds = {"budget": {"capEur": 1}, "costs": {"requestsPerMonth": 10**9, "minGpuHours": 10_000}}
    config = {"gpu": EXTREMES[which], **(bounds if which == "most" else {})}
    assert evaluate("dev", config={f"tl-fif:{k}": v for k, v in config.items()}).resources


# --- secrets

SECRET_KEYS = [key for key, field in KEYS.items() if "SecretStr" in repr(field.annotation)]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_the_fix_for_a_secret_key_keeps_it_secret(key: str) -> None:
    group, name = key.split(":")
    said = refused({f"tl-fif:{group}": {name: "hunter2"}})
    assert said is not None
    assert said.endswith(f"pulumi config set --path --secret 'tl-fif:{group}.{name}' <value>")
    assert "hunter2" not in said


@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("value", [70707, [70707], {"a": 70707}])
def test_no_value_of_a_secret_key_is_shown(key: str, value: Any) -> None:
    group, name = key.split(":")
    for config in ({f"tl-fif:{group}": {name: value}}, {f"tl-fif:{group}.{name}": value}):
        assert "70707" not in str(refused(config))


def test_there_are_secret_keys() -> None:
    assert SECRET_KEYS == ["delivery:slackWebhookUrl", "alerts:pagerDutyUrl"]


def test_a_group_that_is_a_secret_as_a_whole_works_and_is_never_shown() -> None:
    secret = ("tl-fif:alerts",)
    settings = Settings.parse({**REGION, "tl-fif:alerts": '{"email": "me@example.com"}'}, secret)
    assert settings.alerts.email == "me@example.com"
    said = refused({"tl-fif:alerts": '{"email": "hunter2"}'}, secret)
    assert said is not None
    assert said.startswith("alerts:email = [hidden]: ")
    assert "hunter2" not in said


@pytest.mark.parametrize("group", ["gpu", "cpu", "model", "queue", "gateway", "budget", "costs"])
def test_a_group_without_a_secret_is_none_as_a_whole(group: str) -> None:
    said = refused({f"tl-fif:{group}": '{"hunter2": "hunter2"}'}, (f"tl-fif:{group}",))
    assert said is not None
    assert said.startswith(f"{group} = [hidden]: it is set as a secret, and none of its keys is ")
    assert f"pulumi config rm 'tl-fif:{group}'" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_as_plain_text_is_refused_and_not_shown(key: str) -> None:
    group, name = key.split(":")
    piped = {
        "connectionArn": f"arn:aws:codeconnections:us-east-1:123456789012:connection/{'0' * 36}",
        "repository": "example/tl-fif",
    }
    more = piped if group == "delivery" else {}
    config = {f"tl-fif:{group}": {name: "https://hunter2.example.com", **more}}
    said = refused(config)
    assert said is not None
    assert said.startswith(f"{key} = [hidden]: it is a secret, and stands in the stack's file as ")
    assert said.endswith(f"pulumi config set --path --secret 'tl-fif:{group}.{name}' <value>")
    assert "hunter2" not in said
    assert refused(config, (f"tl-fif:{group}",)) is None


@pytest.mark.parametrize(
    "config",
    [
        {"tl-fif:alert": {"pagerDutyUrl": "https://hunter2"}},
        {"tl-fif:slackWebhookUrl": "https://hunter2"},
        {"tlfif:pagerDutyUrl": "https://hunter2"},
        {"tl-fif:gpu": {"slackWebhookUrl": "https://hunter2"}},
        {"tl-fif:gpu": {"count": {"slackWebhookUrl": "https://hunter2"}}},
        {"tl-fif:gpu": '{"slackWebhookUrl": "https://hunter2"'},
        {"tl-fif:gpu.slackWebhookUrl": "hunter2"},
        {"tl-fif:gpuu.pagerDutyUrl": "hunter2"},
        {"gpu:slackWebhookUrl": "hunter2"},
        {"tl-fif": {"alerts": {"pagerDutyUrl": "hunter2"}}},
        {"tl-fif:tl-fif": {"alerts": {"pagerDutyUrl": "hunter2"}}},
        {"aws:secret_key": "hunter2"},
        {"aws:acessKey": "hunter2"},
        {"awss:secretKey": "hunter2"},
    ],
)
def test_what_may_be_a_secret_under_a_misspelt_key_is_not_shown(config: dict[str, Any]) -> None:
    said = refused(config)
    # Without a namespace a file's key has been completed before.
    assert said is not None or "tl-fif" in config
    assert "hunter2" not in str(said)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"other:key": 1, "pulumi:tags": {}, "aws:profile": "me"}, None),
        ({"tlfif:gpu": {}}, "tlfif:gpu = {}: nothing reads the namespace tlfif"),
        ({"tl-fif:gpu.count": "2"}, "tl-fif:gpu.count = 2: it is one key, and no path"),
        ({'tl-fif:gpu["count"]': 2}, """tl-fif:gpu["count"] = 2: it is one key, and no path"""),
        ({"tl-fif:gpu:count": 2}, "tl-fif:gpu:count = 2: it is one key, and no path"),
        ({"tl-fif:gpu.'": 10**5000}, "tl-fif:gpu.' = a int of 16610 bits: "),
        ({"tl-fif:ü\n.x": HUGE}, "tl-fif:ü\\n.x = [hidden]: "),
        ({"datadog:alerts": "x", "myorg:model": 1, "random:queue.x": 1, "awsx:region": "x"}, None),
        ({"awscc:region": "eu-west-1", "aws-native:region": "x"}, None),
        ({"aws:": 1}, "aws: = 1: AWS's provider has no such key."),
        ({"aws:defaultTags.tags": {}}, "aws:defaultTags.tags = {}: AWS's provider has no such key"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_unless_it_is_somebody_elses(
    config: dict[str, Any], said: str | None
) -> None:
    found = refused(config)
    if said is None:
        assert found is None
        return
    assert found is not None
    (line,) = found.splitlines()
    assert line.startswith(said)
    assert len(line) < 8 * LONGEST

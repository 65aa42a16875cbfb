"""The stack configuration: defaults, and refusals that name the key, the value and the fix."""

from typing import Any

import pytest

from components.settings import Settings, SettingsError

REGION = {"aws:region": "us-east-1"}


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.parse({**REGION, **config})
    return str(refused.value)


def test_defaults_are_the_cheap_stack() -> None:
    settings = Settings.parse(REGION)
    assert (settings.queue.engine, settings.queue.node_type) == ("valkey", "cache.t4g.micro")
    assert (settings.gpu.count, settings.gpu.instance_type, settings.gpu.idle_minutes) == (
        1,
        "g4dn.xlarge",
        5,
    )
    assert (settings.budget.cap_eur, settings.budget.scope) == (20, "account")
    assert settings.cap_usd == pytest.approx(23.0)
    assert settings.gpu_eur_per_hour == pytest.approx((0.526 + 0.005) / 1.15)


def test_reads_objects_json_text_and_ignores_other_projects() -> None:
    config = {
        **REGION,
        "tl-fif:gpu": '{"count": 2, "idleMinutes": "7"}',
        "tl-fif:budget": {"capEur": 5},
        "other:key": 1,
    }
    settings = Settings.parse(config)
    assert (settings.gpu.count, settings.gpu.idle_minutes, settings.budget.cap_eur) == (2, 7, 5)


def test_zero_is_a_value_and_not_an_absence() -> None:
    assert "gpu:count = 0" in refusal({"tl-fif:gpu": {"count": 0}})


def test_unknown_key_names_key_value_and_the_near_one() -> None:
    message = refusal({"tl-fif:gpu": {"idleMinute": 3}})
    assert "gpu:idleMinute = 3: no such key. Did you mean gpu:idleMinutes?" in message
    assert "pulumi config rm --path 'tl-fif:gpu.idleMinute'" in message


def test_unknown_group_names_the_known_ones() -> None:
    message = refusal({"tl-fif:gpus": {"count": 1}})
    assert "gpus = {'count': 1}: no such key. Did you mean gpu?" in message
    assert "Known keys: gpu, cpu, model, queue, gateway, budget, costs, delivery, alerts" in message
    assert "pulumi config rm --path 'tl-fif:gpus'" in message


def test_python_spelling_is_refused_with_the_camel_case_one() -> None:
    assert "Did you mean gpu:idleMinutes?" in refusal({"tl-fif:gpu": {"idle_minutes": 3}})


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("gpu", "count", 99),
        ("gpu", "idleMinutes", 31),
        ("gpu", "amiId", "my-image"),
        ("gpu", "maxLifetimeHours", "long"),
        ("queue", "engine", "memcached"),
        ("queue", "nodeType", "t4g.micro"),
        ("budget", "capEur", -1),
        ("budget", "scope", "galaxy"),
        ("costs", "usdPerEur", 0),
        ("alerts", "email", "nobody"),
    ],
)
def test_bad_value_names_key_value_meaning_and_command(group: str, key: str, value: object) -> None:
    message = refusal({f"tl-fif:{group}": {key: value}})
    assert message.startswith(f"{group}:{key} = {value!r}: ")
    assert "the default is" in message
    assert message.endswith(f"pulumi config set --path 'tl-fif:{group}.{key}' <value>")


def test_bad_network_names_key_and_value() -> None:
    message = refusal({"tl-fif:gateway": {"extraPingCidrs": ["10.0.0.0/8", "10.0.0.1/8"]}})
    assert "gateway:extraPingCidrs = '10.0.0.1/8'" in message
    assert "has host bits set" in message


def test_a_group_that_is_no_object_is_explained() -> None:
    message = refusal({"tl-fif:gpu": "g4dn.xlarge"})
    assert "gpu = [hidden]: gpu is a group of keys" in message
    assert "pulumi config set --path 'tl-fif:gpu.<key>' <value>" in message


def test_every_mistake_is_reported_at_once() -> None:
    message = refusal(
        {"tl-fif:gpu": {"count": 0, "colour": "red"}, "tl-fif:queue": {"engine": "x"}}
    )
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize("config", [{"aws:region": "mars-1"}, {}])
def test_a_region_without_prices_is_refused(config: dict[str, str]) -> None:
    with pytest.raises(
        SettingsError, match=r"aws:region = .* Choose one of us-east-1, eu-west-1, eu-central-1"
    ):
        Settings.parse(config)


def test_an_instance_type_without_a_price_is_refused() -> None:
    message = refusal({"tl-fif:gpu": {"instanceType": "p5.48xlarge"}})
    assert (
        "gpu:instanceType = 'p5.48xlarge' has no price. Choose one of g4dn.2xlarge, g4dn.xlarge, "
        in message
    )

"""The stack's configuration: `tl-fif:<group>` objects with camelCase keys, read once into one
typed, checked model.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Self

import pulumi
from pydantic import ValidationError

from components import fit, prices, pricing, settings_keys
from components.gpus import needs_own_image
from components.naming import check_stack
from components.settings_errors import (
    PROJECT,
    SettingsError,
    explained,
    needed,
    no_offer,
    no_price,
    no_region,
    together,
)
from components.settings_groups import (
    AlertSettings,
    BudgetSettings,
    CostSettings,
    CpuSettings,
    DeliverySettings,
    GatewaySettings,
    GpuSettings,
    Group,
    QueueSettings,
)
from components.settings_model import ModelSettings
from tlfif import names

__all__ = [
    "AlertSettings",
    "BudgetSettings",
    "CostSettings",
    "CpuSettings",
    "DeliverySettings",
    "GatewaySettings",
    "GpuSettings",
    "ModelSettings",
    "QueueSettings",
    "Settings",
    "SettingsError",
]


class Settings(Group):
    """All the program's settings; defaults live here and nowhere else."""

    region: str
    gpu: GpuSettings = GpuSettings()
    cpu: CpuSettings = CpuSettings()
    model: ModelSettings = ModelSettings()
    queue: QueueSettings = QueueSettings()
    gateway: GatewaySettings = GatewaySettings()
    budget: BudgetSettings = BudgetSettings()
    costs: CostSettings = CostSettings()
    delivery: DeliverySettings = DeliverySettings()
    alerts: AlertSettings = AlertSettings()

    @classmethod
    def load(cls) -> Self:
        """The running stack's settings; raises SettingsError for an unknown key or a bad value, or
        for the stack's own name.
        """
        check_stack(pulumi.get_stack())
        return cls.parse(*_stack_config())

    @classmethod
    def parse(cls, config: Mapping[str, Any], secret: Collection[str] | None = None) -> Self:
        """Settings from full keys (`tl-fif:gpu`, `aws:region`) to objects or their JSON text.

        `secret` are the full keys that are encrypted where they stand, or paths such as
        `tl-fif:alerts.email` where it is known which of a group's keys are; None if nobody knows.
        Raises SettingsError, which shows no value of theirs.
        """
        decoded = {key: decode(value) for key, value in config.items()}
        settings_keys.check(cls, decoded, secret or ())
        prefix = f"{PROJECT}:"
        groups = {
            key.removeprefix(prefix): value
            for key, value in decoded.items()
            if key.startswith(prefix)
        }
        region = config.get("aws:region")
        if region not in prices.REGIONS:
            raise no_region(region, prices.REGIONS)
        if "region" in groups:
            raise SettingsError(
                f"region is no key of {PROJECT}; the region is aws:region. Remove it with: "
                f"pulumi config rm '{prefix}region'"
            )
        encrypted = {key.removeprefix(prefix) for key in secret or ()}
        try:
            settings = cls.model_validate({**groups, "region": region})
        except ValidationError as error:
            # As under Pulumi's engine, which says only that there is a secret in a group.
            hidden = {key.partition(".")[0] for key in encrypted}
            raise explained(cls, error.errors(), hidden) from None
        settings._check_priced()
        settings._check_together()
        settings._check_model()
        settings._check_nodes()
        settings._check_lane()
        settings._check_delivery()
        if secret is not None:
            settings_keys.in_clear(cls, groups, encrypted)
        return settings

    def _check_priced(self) -> None:
        queue, gpu = self.queue, self.gpu
        if gpu.instance_type not in (offered := prices.gpu_instance_types(self.region)):
            key, elsewhere = "gpu:instanceType", gpu.instance_type in prices.VCPUS
            if elsewhere:
                raise no_offer(key, gpu.instance_type, self.region, offered)
            raise no_price(key, gpu.instance_type, offered)
        if queue.node_type not in (priced := prices.cache_node_types(queue.engine)):
            raise no_price("queue:nodeType", queue.node_type, priced)

    def _check_together(self) -> None:
        """Refuses values that are good alone and not with one another."""
        gpu, costs = self.gpu, self.costs
        boot_min = max(names.LONGEST_BOOT_S // 60, gpu.boot_allowance_minutes)
        needed_min = boot_min + gpu.idle_minutes
        if gpu.max_lifetime_hours * 60 < needed_min:
            raise together(
                {
                    "gpu:maxLifetimeHours": gpu.max_lifetime_hours,
                    "gpu:idleMinutes": gpu.idle_minutes,
                },
                f"a boot may take {boot_min} minutes, so that a node would stop "
                "before it has been idle for so long",
                f"gpu.maxLifetimeHours' {needed_min / 60:g}",
            )
        if costs.image_gb > gpu.disk_gb:
            raise together(
                {"costs:imageGb": costs.image_gb, "gpu:diskGb": gpu.disk_gb},
                "an image is no larger than the disk it fills",
                f"gpu.diskGb' {costs.image_gb}",
            )
        if gpu.wake != "always" and not self.cpu.enabled:
            raise together(
                {"gpu:wake": gpu.wake, "cpu:enabled": self.cpu.enabled},
                "without the instant lane nobody would answer the jobs that wake no node",
                "cpu.enabled' true",
            )
        if gpu.tls_ingress and not gpu.has_nodes:
            raise together(
                {"gpu:tlsIngress": gpu.tls_ingress, "gpu:wake": gpu.wake},
                "the balancer would have no node behind it",
                "gpu.tlsIngress' false",
            )

    def _check_model(self) -> None:
        """Refuses a model that is named by half."""
        model = self.model
        if model.format == "gguf":
            for key in ("file", "sha256"):
                if getattr(model, key) is None:
                    raise needed(f"model:{key}", "a model in the format gguf is one file")
            for key, value in (
                ("tokenizer", model.tokenizer),
                ("tokenizerRevision", model.tokenizer_revision),
            ):
                if value is None and self.gpu.has_nodes:
                    raise needed(f"model:{key}", "the nodes' engine reads none from a GGUF file")
            return
        for key, value in (("file", model.file), ("sha256", model.sha256)):
            if value is not None:
                raise together(
                    {f"model:{key}": value, "model:format": model.format},
                    "safetensors are a whole repository's, which model:revision pins",
                    "model.format' gguf",
                )

    def _check_nodes(self) -> None:
        """Refuses a model that the nodes' GPU cannot serve."""
        gpu = self.gpu
        if not gpu.has_nodes:
            return
        if needs_own_image(gpu.instance_type) and gpu.ami_id is None:
            raise together(
                {"gpu:instanceType": gpu.instance_type, "gpu:amiId": gpu.ami_id},
                "a part of a GPU wants NVIDIA's GRID driver, which the image that is baked has not",
                "gpu.amiId' ami-... (an image of yours that has it)",
            )
        if obstacle := fit.obstacle(self.model, gpu, self.region):
            raise self._refusal(obstacle)

    def _check_lane(self) -> None:
        """Refuses a model that the instant lane cannot serve."""
        cpu, model = self.cpu, self.model
        if not cpu.enabled:
            return
        if model.lane is None:
            raise needed(
                f"model:{model.missing_of_lane}",
                "the instant lane runs GGUF files alone, and has none for this model",
                "cpu.enabled' false",
            )
        if obstacle := fit.too_long_context(model) or fit.lane_obstacle(model, cpu):
            raise self._refusal(obstacle)

    def _check_delivery(self) -> None:
        """Refuses half a pipeline, and who would hear of one that there is not."""
        delivery = self.delivery
        if delivery.has_pipeline and delivery.repository is None:
            why = "the pipeline has a connection to GitHub, and no repository that it delivers"
            raise needed("delivery:repository", why)
        if delivery.has_pipeline:
            return
        for key, value in (
            ("repository", delivery.repository),
            ("slackWebhookUrl", delivery.slack_webhook_url),
        ):
            if value is not None:
                why = f"without a connection there is no pipeline, and delivery:{key} is for none"
                raise needed("delivery:connectionArn", why)

    def _refusal(self, obstacle: fit.Obstacle) -> SettingsError:
        (key, value), *more = obstacle.ways or (("gpu:wake", "never"),)
        others = ", ".join(f"{key} = {value}" for key, value in more)
        why = f"{obstacle.why} (it would go with {others} too)" if others else obstacle.why
        values = {each: self._value(each) for each in obstacle.keys}
        return together(values, why, f"{key.replace(':', '.')}' {value}")

    def _value(self, key: str) -> Any:
        """The value of a key such as `gpu:diskGb`; StopIteration for one that does not exist."""
        group, _, alias = key.partition(":")
        values = getattr(self, group)
        return next(
            getattr(values, name)
            for name, field in type(values).model_fields.items()
            if field.alias == alias
        )

    @property
    def gpu_eur_per_hour(self) -> float:
        """What one running node costs, in EUR per hour."""
        return self.eur_per_hour(self.gpu.instance_type)

    def eur_per_hour(self, instance_type: str) -> float:
        """What one running node of a type costs, in EUR per hour; KeyError where there is none."""
        rows = pricing.bill(pricing.gpu_hour_lines(instance_type), self.region)
        return pricing.total_usd(rows, "gpu-hour") / self.costs.usd_per_eur

    @property
    def lane_eur_per_hour(self) -> float:
        """What the instant lane costs while it runs, in EUR per hour, beyond the free tier."""
        rows = pricing.bill(
            pricing.lane_hour_lines(self.cpu.memory_mb, self.cpu.disk_mb), self.region
        )
        return pricing.total_usd(rows, "lane-hour") / self.costs.usd_per_eur

    def is_default(self, key: str) -> bool:
        """Whether a key such as `gpu:diskGb` has its default value; StopIteration for one that does
        not exist.
        """
        group, _, alias = key.partition(":")
        values = getattr(self, group)
        name, field = next((n, f) for n, f in type(values).model_fields.items() if f.alias == alias)
        return getattr(values, name) == field.default

    @property
    def cap_usd(self) -> float:
        """The monthly cap in USD, the account's currency."""
        return self.budget.cap_eur * self.costs.usd_per_eur


def _stack_config() -> tuple[dict[str, Any], list[str]]:
    """Every configured key, and those that are secrets: the CLI passes them in the environment, a
    recording in the context.
    """
    passed = {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    secret = [each for each in passed if pulumi.runtime.is_config_secret(each)]
    return passed, [*pulumi.runtime.get_config_secret_keys_env(), *secret]


def decode(value: Any) -> Any:
    """What a value's JSON text says; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value

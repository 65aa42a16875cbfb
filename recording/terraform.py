"""The real AWS provider's verdict: a recording as Terraform JSON, validated and planned offline,
without credentials.

Pulumi's provider is made from Terraform's, so the names are the same but for case, plurals and the
few in the tables below; everything else is looked up in the schema that the installed provider
gives of itself.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi.runtime import MockResourceArgs

from recording.evaluate import evaluate, stack_region
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording, Resource

PROVIDER = "registry.terraform.io/hashicorp/aws"
Json = dict[str, Any]

# What Pulumi calls otherwise than Terraform, beyond case and plurals.
_TYPES = {"aws:lb/loadBalancer:LoadBalancer": "aws_lb"}
_MODULES = {"apigateway": "api_gateway"}
_PROPERTIES = {
    ("aws_api_gateway_deployment", "restApi"): "rest_api_id",
    ("aws_api_gateway_method_settings", "restApi"): "rest_api_id",
    ("aws_api_gateway_stage", "deployment"): "deployment_id",
    ("aws_api_gateway_stage", "restApi"): "rest_api_id",
    ("aws_cloudwatch_metric_alarm", "name"): "alarm_name",
    ("aws_lambda_function", "code"): "filename",
    ("aws_lambda_function", "name"): "function_name",
    ("aws_lambda_permission", "function"): "function_name",
    ("aws_sns_topic_subscription", "topic"): "topic_arn",
}
# The attribute that Pulumi names by itself when the program does not; elsewhere it is its `name`,
# if it has one.
_AUTONAMED = {
    "aws_elasticache_replication_group": "replication_group_id",
    "aws_s3_bucket": "bucket",
}
# Outputs on which the program computes: they stay what the recording invented, and are no
# references.
_COMPUTED_ON = {
    ("aws:acm/certificate:Certificate", "domainValidationOptions"),
    ("aws:ec2/vpc:Vpc", "ipv6CidrBlock"),
}


@dataclass(frozen=True, kw_only=True)
class NewerProperty:
    """A property that the installed provider does not know yet; `member` is the API's own, as
    botocore models it.
    """

    type: str
    path: str
    service: str
    operation: str
    member: str
    why: str


# Left out of the translation, each for a reason; one that is no longer needed is an error.
NEWER = (
    NewerProperty(
        type="aws_synthetics_canary",
        path="vpcConfig.ipv6AllowedForDualStack",
        service="synthetics",
        operation="CreateCanary",
        member="VpcConfig.Ipv6AllowedForDualStack",
        why="5.100.0 runs canaries over IPv4 only; ours leave the VPC over IPv6",
    ),
)


class TranslationError(ValueError):
    """The recording cannot be said in Terraform's terms; the message names every resource and
    property.
    """


# --- references: what a resource knows only once it is made


@dataclass(frozen=True)
class Reference:
    """One output of one resource, by Pulumi's names."""

    type: str
    name: str
    output: str


class ReferenceBackend(RecordingBackend):
    """Answers each unknown output with a token of its own, which can be found again wherever the
    program puts it.
    """

    def __init__(self, stack: str, region: str) -> None:
        super().__init__(stack, region)
        self.references: dict[str, Reference] = {}
        self.names: dict[tuple[str, str], str] = {}

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, Json]:
        id_, outputs = super().new_resource(args)
        if not args.custom:
            return id_, outputs
        self.names[args.typ, args.name] = outputs["name"]
        return self._token(args, "id"), {
            name: self._output(args, name, value) for name, value in outputs.items()
        }

    def _output(self, args: MockResourceArgs, name: str, value: Any) -> Any:
        known = args.inputs.get(name) is not None or (args.typ, name) in _COMPUTED_ON
        return value if known else self._token(args, name)

    def _token(self, args: MockResourceArgs, output: str) -> str:
        reference = Reference(args.typ, args.name, output)
        token = f"ref{hashlib.sha256(repr(reference).encode()).hexdigest()[:24]}"
        self.references[token] = reference
        return token


@dataclass(frozen=True, kw_only=True)
class Linked:
    """A recording whose inputs hold the tokens of `references`; `names` are those that Pulumi would
    invent.
    """

    recording: Recording
    region: str
    references: Mapping[str, Reference]
    names: Mapping[tuple[str, str], str]


def link(
    stack: str, *, config: Mapping[str, Any] | None = None, project_dir: Path = ROOT
) -> Linked:
    """The stack's recording with references in place of invented values."""
    region = stack_region(stack, project_dir=project_dir, config=config)
    backend = ReferenceBackend(stack, region)
    recording = evaluate(stack, backend, project_dir=project_dir, config=config)
    return Linked(
        recording=recording, region=region, references=backend.references, names=backend.names
    )


# --- the translation


def translate(
    linked: Linked, schema: Json, newer: Sequence[NewerProperty] = NEWER
) -> tuple[Json, set[NewerProperty]]:
    """The recording as one Terraform JSON configuration, and which of `newer` had to be left out.

    `schema` is the provider's: resource type to its block. TranslationError for whatever else has
    no place in it.
    """
    translation = _Translation(linked, schema, newer)
    configuration = translation.configuration()
    if translation.problems:
        raise TranslationError("\n".join(sorted(translation.problems)))
    return configuration, translation.left_out


def terraform_type(token: str, schema: Json) -> str | None:
    """The provider's resource type for one of Pulumi's, such as `aws_vpc` for aws:ec2/vpc:Vpc; None
    without one.
    """
    _, module, name = token.split(":")
    module, snake = module.split("/")[0], _snake(name)
    candidates = (
        _TYPES.get(token, ""),
        f"aws_{_MODULES.get(module, module)}_{snake}",
        f"aws_{snake}",
    )
    return next((kind for kind in candidates if kind in schema), None)


class _Translation:
    def __init__(self, linked: Linked, schema: Json, newer: Sequence[NewerProperty]) -> None:
        self._linked, self._schema, self._newer = linked, schema, newer
        self._resources = [resource for resource in linked.recording.resources if resource.custom]
        self._referenced: set[str] = set()
        self.problems: list[str] = []
        self.left_out: set[NewerProperty] = set()

    def configuration(self) -> Json:
        resources: Json = {}
        for resource in self._resources:
            kind = self._kind(resource.type)
            if kind is None:
                self.problems.append(
                    f"{resource.name}: the provider has no resource for {resource.type}"
                )
            elif resource.name in resources.setdefault(kind, {}):
                self.problems.append(
                    f"{resource.name}: two resources of type {resource.type} have this name"
                )
            else:
                resources[kind][resource.name] = self._resource(kind, resource)
        outputs = self._linked.recording.outputs
        configuration: Json = {
            "terraform": {"required_providers": {"aws": {"source": PROVIDER}}},
            "provider": {"aws": {**_OFFLINE, "region": self._linked.region}},
            "resource": resources,
            "output": {name: {"value": self._text(outputs[name])} for name in sorted(outputs)},
        }
        # Terraform takes no empty sections.
        return {section: content for section, content in configuration.items() if content}

    def _kind(self, token: str) -> str | None:
        return terraform_type(token, self._schema)

    def _resource(self, kind: str, resource: Resource) -> Json:
        self._referenced = set()
        block = self._schema[kind]["block"]
        body = self._block(_Place(kind, resource.name), resource.inputs, block)
        # Named as Pulumi would: names have limits that only the provider knows.
        attribute = _AUTONAMED.get(kind) or _PROPERTIES.get((kind, "name"), "name")
        if attribute not in body and _settable(block["attributes"].get(attribute)):
            body[attribute] = self._linked.names[resource.type, resource.name]
        waits = {self._address(urn) for urn in resource.dependencies} - self._referenced
        return {**body, "depends_on": sorted(waits)} if waits else body

    def _address(self, urn: str) -> str:
        *_, types, name = urn.split("::")
        token = types.rpartition("$")[2]
        return f"{self._kind(token) or token}.{name}"

    def _block(self, place: "_Place", value: Json, block: Json) -> Json:
        attributes, blocks = block.get("attributes", {}), block.get("block_types", {})
        body: Json = {}
        for name, item in value.items():
            inner = place.inside(name)
            found = _PROPERTIES.get((place.kind, inner.path)) or _find(name, [*attributes, *blocks])
            if found is None:
                self._unmapped(inner)
            elif found in attributes:
                body[found] = self._attribute(inner, item, attributes[found])
            else:
                body[found] = self._blocks(inner, item, blocks[found]["block"])
        return body

    def _blocks(self, place: "_Place", value: Any, block: Json) -> Any:
        items = value if isinstance(value, list) else [value]
        return [self._block(place, item, block) for item in items]

    def _attribute(self, place: "_Place", value: Any, attribute: Json) -> Any:
        if "nested_type" in attribute:
            return self._nested(place, value, attribute["nested_type"])
        return self._typed(place, value, attribute["type"])

    def _nested(self, place: "_Place", value: Any, nested: Json) -> Any:
        many = nested["nesting_mode"] in ("list", "set")
        items = value if isinstance(value, list) else [value]
        bodies = [self._block(place, item, nested) for item in items]
        return bodies if many else bodies[0]

    def _typed(self, place: "_Place", value: Any, kind: Any) -> Any:
        match kind:
            case ["list" | "set", inner]:
                # Pulumi flattens lists that hold one item at most.
                return [
                    self._typed(place, item, inner)
                    for item in (value if isinstance(value, list) else [value])
                ]
            case ["map", inner] if isinstance(value, dict):
                return {key: self._typed(place, item, inner) for key, item in value.items()}
            case ["object", inner] if isinstance(value, dict):
                return self._block(
                    place,
                    value,
                    {"attributes": {name: {"type": each} for name, each in inner.items()}},
                )
            case str() if not isinstance(value, dict | list):
                return self._text(value)
        self.problems.append(f"{place}: {value!r} is no {kind}")
        return None

    def _unmapped(self, place: "_Place") -> None:
        newer = next(
            (each for each in self._newer if (each.type, each.path) == (place.kind, place.path)),
            None,
        )
        if newer:
            self.left_out.add(newer)
        else:
            self.problems.append(f"{place}: the provider's {place.kind} has no such property")

    def _text(self, value: Any) -> Any:
        """A value as Terraform reads it: its own templates escaped, tokens turned into references."""
        if isinstance(value, list):
            return [self._text(item) for item in value]
        if isinstance(value, dict):
            return {key: self._text(item) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        escaped = value.replace("${", "$${").replace("%{", "%%{")
        return _TOKEN.sub(self._reference, escaped)

    def _reference(self, found: re.Match[str]) -> str:
        reference = self._linked.references[found[0]]
        kind = self._kind(reference.type) or reference.type
        address = f"{kind}.{reference.name}"
        self._referenced.add(address)
        attribute = _PROPERTIES.get((kind, reference.output)) or _snake(reference.output)
        return f"${{{address}.{attribute}}}"


@dataclass(frozen=True)
class _Place:
    """Where in a resource: for messages, and to look up what is special there."""

    kind: str
    resource: str
    path: str = ""

    def inside(self, name: str) -> "_Place":
        return _Place(self.kind, self.resource, f"{self.path}.{name}" if self.path else name)

    def __str__(self) -> str:
        return f"{self.resource}.{self.path}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _find(name: str, known: Sequence[str]) -> str | None:
    """The provider's name of a property: the same in snake case, or its singular, as Pulumi's lists
    are plural.
    """
    snake = _snake(name)
    singular = (re.sub(r"ies$", "y", snake), re.sub(r"es$", "", snake), re.sub(r"s$", "", snake))
    return next((candidate for candidate in (snake, *singular) if candidate in known), None)


def _settable(attribute: Json | None) -> bool:
    return attribute is not None and bool(attribute.get("optional") or attribute.get("required"))


# --- Terraform itself


def find_terraform() -> str | None:
    """The Terraform program, or OpenTofu's."""
    return shutil.which("terraform") or shutil.which("tofu")


def find_plugins() -> Path | None:
    """A folder that mirrors the AWS provider: TFLIF_TF_PLUGINS, or wherever installations usually
    keep one.
    """
    named = [
        os.environ[key]
        for key in ("TFLIF_TF_PLUGINS", "TF_PLUGIN_CACHE_DIR")
        if os.environ.get(key)
    ]
    usual = (
        "~/.terraform.d/plugins",
        "~/.terraform.d/plugin-cache",
        "~/.local/share/terraform/plugins",
    )
    roots = [Path(path).expanduser() for path in (*named, *usual)]
    roots += [
        path
        for parent in ("/opt", "/usr/share", "/usr/local/share")
        for path in Path(parent).glob("*")
    ]
    roots += [
        path / "plugins"
        for parent in ("/usr/share", "/usr/local/share")
        for path in Path(parent).glob("terraform")
    ]
    return next(
        (root for root in roots if any(root.glob(f"{PROVIDER}/*/*/terraform-provider-aws*"))), None
    )


_TOKEN = re.compile(r"ref[0-9a-f]{24}")
_OFFLINE = {
    "access_key": "none",
    "secret_key": "none",
    "skip_credentials_validation": True,
    "skip_metadata_api_check": "true",
    "skip_region_validation": True,
    "skip_requesting_account_id": True,
    "max_retries": 0,
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What validate and plan said: every error with its address, and how many resources would be
    made.
    """

    errors: list[str]
    planned: int


class Terraform:
    """Terraform with the provider of one mirror, in a folder of its own."""

    def __init__(self, folder: Path, *, program: str, plugins: Path) -> None:
        self._folder, self._program, self._plugins = folder, program, plugins
        (folder / "empty.tfrc").touch()

    def schema(self) -> Json:
        """The provider's resource types; cached per provider, because asking takes it several
        seconds.
        """
        plugin = next(self._plugins.glob(f"{PROVIDER}/*/*/terraform-provider-aws*"))
        key = f"{plugin.parent.parent.name}-{plugin.stat().st_size}"
        cached = ROOT / ".cache" / "terraform" / f"schema-{key}.json"
        if not cached.exists():
            self._write({"terraform": {"required_providers": {"aws": {"source": PROVIDER}}}})
            whole = json.loads(self._run("providers", "schema", "-json").stdout)
            cached.parent.mkdir(parents=True, exist_ok=True)
            scratch = cached.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(whole["provider_schemas"][PROVIDER]["resource_schemas"]))
            scratch.replace(cached)
        return json.loads(cached.read_text())

    def judge(self, configuration: Json) -> Verdict:
        """Validates, and plans what is valid; no request leaves the machine."""
        self._write(configuration)
        errors = _diagnostics([json.loads(self._run("validate", "-json", ok=(0, 1)).stdout)])
        if errors:
            return Verdict(errors=errors, planned=0)
        messages = self._plan()
        summary = next(
            (m["changes"] for m in messages if m["type"] == "change_summary"), {"add": 0}
        )
        return Verdict(errors=_diagnostics(messages), planned=summary["add"])

    def replacing(self, configuration: Json, state: Json) -> dict[str, set[str]]:
        """Address to the attributes for which a plan from `state` replaces it.

        Raises RuntimeError if it is refused.
        """
        (self._folder / "terraform.tfstate").write_text(json.dumps(state))
        self._write(configuration)
        if errors := _diagnostics(self._plan("-out=plan")):
            raise RuntimeError("\n".join(errors))
        plan = json.loads(self._run("show", "-json", "plan").stdout)
        changes = [(each["address"], each["change"]) for each in plan.get("resource_changes", ())]
        return {
            address: {path[0] for path in change.get("replace_paths", ())}
            for address, change in changes
        }

    def _plan(self, *options: str) -> list[Json]:
        done = self._run(
            "plan", "-json", "-input=false", "-refresh=false", "-lock=false", *options, ok=(0, 1)
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def _write(self, configuration: Json) -> None:
        (self._folder / "main.tf.json").write_text(
            json.dumps(configuration, indent=1, sort_keys=True)
        )
        if not (self._folder / ".terraform").exists():
            self._run("init", "-no-color", "-input=false", f"-plugin-dir={self._plugins}")

    def _run(self, *arguments: str, ok: Sequence[int] = (0,)) -> "subprocess.CompletedProcess[str]":
        # Nothing of this machine's AWS or Terraform settings may reach the verdict.
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))
        }
        own = {"TF_CLI_CONFIG_FILE": str(self._folder / "empty.tfrc"), "CHECKPOINT_DISABLE": "1"}
        command = [self._program, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=kept | own, text=True, capture_output=True, check=False
        )
        if done.returncode not in ok:
            raise RuntimeError(
                f"terraform {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done


def _diagnostics(messages: Sequence[Json]) -> list[str]:
    found = [
        each for m in messages for each in (*m.get("diagnostics", ()), m.get("diagnostic")) if each
    ]
    return [_said(each) for each in found if each["severity"] == "error"]


def _said(diagnostic: Json) -> str:
    where = (
        diagnostic.get("address")
        or diagnostic.get("snippet", {}).get("context")
        or "the configuration"
    )
    return f"{where}: {diagnostic['summary']}. {diagnostic.get('detail', '')}".strip()

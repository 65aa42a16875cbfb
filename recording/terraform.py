"""The real AWS provider's verdict on a configuration: Terraform validates and plans it offline,
without credentials.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recording.model import ROOT
from recording.translation import PROVIDER, Json

_PLUGIN = f"{PROVIDER}/*/*/terraform-provider-aws*"
# The variable by which Terraform is told of a provider that runs already.
REATTACH = "TF_REATTACH_PROVIDERS"
_SHARED = ("/usr/share", "/usr/local/share")


def find_terraform() -> str | None:
    """The Terraform program, or OpenTofu's."""
    return shutil.which("terraform") or shutil.which("tofu")


def find_plugins() -> Path | None:
    """A folder that mirrors the AWS provider: TFLIF_TF_PLUGINS, or wherever installations usually
    keep one.
    """
    return next((root for root in _mirrors() if any(root.glob(_PLUGIN))), None)


def find_provider(plugins: Path) -> Path:
    """The provider's program in such a folder."""
    return next(plugins.glob(_PLUGIN))


def _mirrors() -> list[Path]:
    """The folders that may be mirrors, those that the environment names first."""
    named = [os.environ.get(key) for key in ("TFLIF_TF_PLUGINS", "TF_PLUGIN_CACHE_DIR")]
    own = ("terraform.d/plugins", "terraform.d/plugin-cache", "local/share/terraform/plugins")
    personal = [Path(f"~/.{path}").expanduser() for path in own]
    unpacked = [path for parent in ("/opt", *_SHARED) for path in Path(parent).glob("*")]
    installed = [Path(parent) / "terraform" / "plugins" for parent in _SHARED]
    return [*(Path(path).expanduser() for path in named if path), *personal, *unpacked, *installed]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What validate and plan said: every error with its address, and how many resources would be
    made.
    """

    errors: list[str]
    planned: int


class Terraform:
    """Terraform with the provider of one mirror, in a folder of its own.

    Every command starts the provider several times, unless `attached` tells of one that runs, as it
    says it itself (TF_REATTACH_PROVIDERS); that one has its own environment.
    """

    def __init__(
        self, folder: Path, *, program: str, plugins: Path, attached: str | None = None
    ) -> None:
        self.folder, self._program, self._plugins = folder, program, plugins
        self._attached = {REATTACH: attached} if attached else {}
        (folder / "empty.tfrc").touch()

    def schema(self) -> Json:
        """The provider's resource types; cached per provider, because asking takes it several
        seconds.
        """
        plugin = find_provider(self._plugins)
        key = f"{plugin.parent.parent.name}-{plugin.stat().st_size}"
        cached = ROOT / ".cache" / "terraform" / f"schema-{key}.json"
        if not cached.exists():
            self._fetch_schema(cached)
        return json.loads(cached.read_text())

    def _fetch_schema(self, to: Path) -> None:
        self.write({"terraform": {"required_providers": {"aws": {"source": PROVIDER}}}})
        whole = json.loads(self.run("providers", "schema", "-json").stdout)
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = to.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(whole["provider_schemas"][PROVIDER]["resource_schemas"]))
        scratch.replace(to)

    def judge(self, configuration: Json) -> Verdict:
        """A plan, which validates first; no request leaves the machine."""
        self.write(configuration)
        messages = self._plan()
        planned = [m["changes"]["add"] for m in messages if m["type"] == "change_summary"]
        return Verdict(errors=diagnostics(messages), planned=next(iter(planned), 0))

    def replacing(self, configuration: Json, state: Json) -> dict[str, set[str]]:
        """Address to the attributes for which a plan from `state` replaces it.

        Raises RuntimeError if it is refused.
        """
        (self.folder / "terraform.tfstate").write_text(json.dumps(state))
        self.write(configuration)
        if errors := diagnostics(self._plan("-out=plan")):
            raise RuntimeError("\n".join(errors))
        plan = json.loads(self.run("show", "-json", "plan").stdout)
        changes = [(each["address"], each["change"]) for each in plan.get("resource_changes", ())]
        return {
            address: {path[0] for path in change.get("replace_paths", ())}
            for address, change in changes
        }

    def _plan(self, *options: str) -> list[Json]:
        done = self.run(
            "plan", "-json", "-input=false", "-refresh=false", "-lock=false", *options, ok=(0, 1)
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def write(self, configuration: Json) -> None:
        """Makes the configuration that of the folder."""
        (self.folder / "main.tf.json").write_text(
            json.dumps(configuration, indent=1, sort_keys=True)
        )
        if not (self.folder / ".terraform").exists():
            self.run("init", "-no-color", "-input=false", f"-plugin-dir={self._plugins}")

    def run(
        self, *arguments: str, ok: Sequence[int] = (0,), url: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs Terraform to its end; `url` answers for AWS, if anything may.

        Raises RuntimeError with what it said, unless the exit code is `ok`.
        """
        with self.start(*arguments, url=url) as process:
            out, err = process.communicate()
        if process.returncode not in ok:
            raise RuntimeError(f"terraform {arguments[0]} failed: {err.strip() or out.strip()}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *arguments: str, url: str | None = None) -> "subprocess.Popen[str]":
        """Starts Terraform, with pipes for what it says."""
        return subprocess.Popen(
            [self._program, *arguments],
            cwd=self.folder,
            env=self._environment(url),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _environment(self, url: str | None) -> dict[str, str]:
        """Nothing of this machine's AWS or Terraform settings may reach the verdict."""
        private = ("AWS_", "TF_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(private)}
        own = {"TF_CLI_CONFIG_FILE": str(self.folder / "empty.tfrc"), "CHECKPOINT_DISABLE": "1"}
        asked = {"AWS_ENDPOINT_URL": url} if url else {}
        # A plan takes seconds; collecting the garbage of the provider's schemas would take a sixth.
        return kept | own | asked | self._attached | {"GOGC": "400"}


def diagnostics(messages: Sequence[Json]) -> list[str]:
    """Every error among Terraform's messages, with the address that it is about."""
    found = [
        each for m in messages for each in (*m.get("diagnostics", ()), m.get("diagnostic")) if each
    ]
    return [_said(each) for each in found if each["severity"] == "error"]


def _said(diagnostic: Json) -> str:
    named = diagnostic.get("address") or diagnostic.get("snippet", {}).get("context")
    summary, detail = diagnostic["summary"], diagnostic.get("detail", "")
    return f"{named or 'the configuration'}: {summary}. {detail}".strip()

"""How a stack runs on this machine, and the parts of it that it runs on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.processes import Processes


@dataclass(frozen=True, kw_only=True)
class Options:
    """How this machine differs from AWS: the gateway's port (0: any), the scaled clock, EC2's
    delays, processes.

    `tls`: whether nodes have nginx before their engine, as on AWS, where this machine has one.
    `lane`: whether there is the instant lane, and a hub with the local model's weights.
    `empty`: whether nothing is deployed at first. `baked`: whether there is an image for nodes.
    `engine`: whether Pulumi's own engine deploys, and not a recording of the program.
    `ec2_timeout_s` is how long router and cost publisher wait for AWS's APIs, which take longer on
    a loaded machine.
    `watcher` overrides what the watcher is told, by TLFIF_* names; `commands` are other programs
    of a node's than the usual ones (`local.node.node`).
    """

    stack: str = "dev"
    config: Mapping[str, Any] = field(default_factory=dict)
    lane: bool = False
    tls: bool = False
    empty: bool = False
    baked: bool = True
    engine: bool = False
    port: int = 0
    seconds_per_minute: float = 60.0
    delays: Delays = field(default_factory=Delays)
    workers: int = 2
    ec2_timeout_s: float = 3.0
    watcher: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a stack runs: this machine's parts of a local cloud.

    `log(source, line)` and `access_log(line)` take what is written, `progress(text)` what is up.
    """

    options: Options
    procs: Processes
    moto: Moto
    endpoint: Endpoint
    api_url: str
    vpc_url: str
    log: Callable[[str, str], None]
    access_log: Callable[[str], None]
    progress: Callable[[str], None]

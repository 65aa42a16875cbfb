"""What the commands share: their clock, and what a person can do something about."""

from components.bundle import BundleError
from components.settings_errors import SettingsError
from gui.site import SiteError
from local.control import NoCloudError, OrderFailedError
from local.engine.cli import DeploymentError, EngineMissingError
from local.machine.ports import PortTakenError
from local.machine.processes import ProcessError
from local.node.model_file import ModelMissingError
from recording.evaluate import configuration, stack_region

# A minute of the commands that run to their end: the node rests after two seconds instead of sixty.
SECONDS_PER_MINUTE = 2.0


class CommandError(RuntimeError):
    """A command cannot do what it says; the message says why, in one line."""


# One line, no traceback.
EXPECTED = (
    BundleError,
    CommandError,
    DeploymentError,
    EngineMissingError,
    FileNotFoundError,
    ModelMissingError,
    NoCloudError,
    OrderFailedError,
    PortTakenError,
    ProcessError,
    SettingsError,
    SiteError,
    TimeoutError,
)


def require_stack(stack: str, *, whole: bool) -> None:
    """Raises FileNotFoundError for a stack without a file, and SettingsError for a file that cannot
    be read, before anything is started; `whole`: also for whatever is wrong in it.
    """
    if whole:
        stack_region(stack)
    else:
        configuration(stack)


def say(text: str) -> None:
    """Tells whoever runs the command how far it is."""
    print(f"tl-fif: {text}", flush=True)

"""`python -m watcher`: serves, unless this node should have been off already.

That is looked at before anything that may crash, and by the standard library alone: a watcher that
is restarted again and again must not keep its machine up.
"""

import os
import sys
import time

from tlfif.log import log
from watcher import memory
from watcher.supervisor import Supervisor, SupervisorError


def main() -> None:
    """Ends the process; exit 1 when only a new one can go on."""
    store, now = memory.Store(os.environ), time.monotonic()
    known = store.load(now)
    if known is None:
        store.save(memory.first(os.environ, now))
    elif now >= known.give_up_at:
        sys.exit(_power_off(now - known.give_up_at))
    # Imported here: see above.
    from watcher.main import main as serve

    serve(restarted=known is not None)


def _power_off(late_s: float) -> int:
    log("power_off", "ERROR", why=f"it should have been off {late_s:.0f} s ago")
    try:
        Supervisor(os.environ).power_off()
    except SupervisorError as error:
        log("power_off_failed", "ERROR", why=str(error))
        return 1
    return 0


main()

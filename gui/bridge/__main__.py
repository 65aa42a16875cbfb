"""python -m gui.bridge: see gui/bridge/command.py."""

import sys

from gui.bridge.command import main

sys.exit(main())

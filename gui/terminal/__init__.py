"""The headless client as a command, `python -m gui.client`: one prompt, or a chat. stdout has the
reply's text and nothing else.
"""

from gui.terminal.command import main

__all__ = ["main"]

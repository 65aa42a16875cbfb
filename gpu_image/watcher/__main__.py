"""`python -m watcher`."""

from watcher.main import main

main()

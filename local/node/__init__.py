"""A GPU node on this machine: model server and watcher."""

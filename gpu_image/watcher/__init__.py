"""The GPU node's own part: it hosts a worker, says that it is there, and stops its machine."""

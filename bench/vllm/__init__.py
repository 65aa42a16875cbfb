"""The watcher before the real vLLM, of the node's version, on a CPU (`make vllm-check`).

`setup` installs it and makes the model that it serves, `server` starts and breaks it, `__main__`
asks the watcher for jobs meanwhile and says what was seen.
"""

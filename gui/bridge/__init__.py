"""The bridge: OpenAI's chat completions on loopback, answered by a stack of tl-fif's."""

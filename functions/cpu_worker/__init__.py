"""The instant lane: the worker around llama.cpp, in a function; it answers while no node is up."""

"""A project of one function, and a uv that does as it is told."""

from pathlib import Path

HANDLER = """
NAMES = {"alpha", "beta", "gamma", "delta"}
def handler(event, context):
    if event in {"one", "two", "three", "four", "five"}:
        return sorted(NAMES)
    return (lambda *, limit=10: [limit, *NAMES])()
"""


def make_project(root: Path, pins: str = "six==1.17.0\n", requirements: str = "") -> Path:
    files = {
        "functions/constraints.txt": pins,
        "functions/f/requirements.txt": requirements,
        "functions/f/__init__.py": "",
        "functions/f/handler.py": HANDLER,
        "functions/f/events/script.lua": "return 1\n",
        "tlfif/__init__.py": "",
        "tlfif/names.py": "LIMITS = frozenset({'a', 'b', 'c'})\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def fake_uv(folder: Path, script: str) -> str:
    uv = folder / "uv"
    uv.write_text(f"#!/bin/sh\n{script}\n")
    uv.chmod(0o755)
    return str(uv)

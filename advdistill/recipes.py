"""The shipped recipes: configs and short scripts of whole experiments, to list and to copy."""

from __future__ import annotations

import ast
from pathlib import Path

from advcore import ConfigError, runs
from advcore.settings import nearest, shipped


def listed() -> dict[str, str]:
    """File name -> what it is for, in the words of its own first line."""
    folder = shipped("recipes")
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".toml", ".py", ".yaml"))
    return {file.relative_to(folder).as_posix(): _first_words(file) for file in files}


def copy(name: str, folder: Path) -> list[Path]:
    """Copy a recipe into `folder`: the file of that name, or all whose names begin with it; the copies.

    Raises ConfigError for an unknown name, and where another file is in the way.
    """
    found = [each for each in listed() if name == each] or [
        each for each in listed() if each.startswith(name)
    ]
    if not found:
        raise ConfigError(f"no recipe is called {name}{nearest(name, listed())}")
    contents = {folder / each: shipped(f"recipes/{each}").read_bytes() for each in found}
    for target, content in contents.items():
        if target.exists() and target.read_bytes() != content:
            raise ConfigError(f"{target} is there and differs from the recipe: move it away")
    for target, content in contents.items():
        runs.make_folder(target.parent)
        runs.write_atomic(target, content)
    return list(contents)


def _first_words(file: Path) -> str:
    """The first sentence of a script's docstring or of a config's first comment."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
        text = " ".join(line for line in lines if not line.startswith("!"))
    return " ".join(text.split()).split(". ")[0].split(": ")[0].rstrip(".:")

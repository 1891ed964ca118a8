"""CPU time of a process with all of its descendants, from outside: what the benches charge to an arm."""

from __future__ import annotations

import os
from pathlib import Path


def of_tree(pid: int) -> float:
    """Seconds, user + system, of a process and every descendant, dead or alive; in steps of 10 ms as a rule."""
    return sum(map(of_process, {pid} | descendants(pid)))


def of_process(pid: int) -> float:
    """Seconds of a process and those of its children that it has waited for."""
    return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> set[int]:
    """Those alive."""
    lists = Path(f"/proc/{root}/task").glob("*/children")
    children = {int(pid) for each in lists for pid in _text(each).split()}
    return children.union(*map(descendants, children))


def _stat(pid: int) -> list[str]:
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _text(path: Path) -> str:
    """Nothing of a process that has ended meanwhile: it is in its parent's account."""
    try:
        return path.read_text()
    except OSError:
        return ""

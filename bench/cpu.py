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
    parents = {
        int(p.name): int(stat[1]) for p in Path("/proc").glob("[0-9]*") if (stat := _stat(int(p.name)))
    }
    found, size = {root}, 0
    while size != len(found):
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {root}


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile, and is in its parent's account
        return []

"""Threads in place of processes, for programs that want several: the sandbox lets a run have one process only.

`multiprocessing` has the same interface over threads (`multiprocessing.dummy`), and pools compute the same with
either. What a program may see of the difference is that its workers share their globals. Installed in the solution's
process; nothing is loaded before the program asks for it.
"""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any


def install() -> None:
    """Have the modules give threads when they are imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Lets the module load as it is, and then puts threads into it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        change = _CHANGES.get(name)
        spec = PathFinder.find_spec(name, path) if change else None
        if spec is None or spec.loader is None or change is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _threads(module: types.ModuleType) -> None:
    import threading
    from multiprocessing import dummy, queues

    locks: Any = types.SimpleNamespace(Lock=threading.Lock)
    vars(module).update({name: getattr(dummy, name) for name in dummy.__all__ if name != "active_children"})
    vars(module).update(
        get_context=lambda method=None: module, SimpleQueue=lambda: queues.SimpleQueue(ctx=locks)
    )


def _thread_pool(module: types.ModuleType) -> None:
    from concurrent.futures.thread import ThreadPoolExecutor

    class ProcessPoolExecutor(ThreadPoolExecutor):
        """As the one of processes is called, without what only those have."""

        def __init__(self, max_workers: int | None = None, mp_context: Any = None, **options: Any) -> None:
            options.pop("max_tasks_per_child", None)
            super().__init__(max_workers, **options)

    vars(module)["ProcessPoolExecutor"] = ProcessPoolExecutor


_CHANGES = {"multiprocessing": _threads, "concurrent.futures.process": _thread_pool}

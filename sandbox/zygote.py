"""A slot: one warmed interpreter, sealed off, that forks the processes of each run.

Started by `box` as an isolated interpreter with a clean environment. The launcher takes the namespaces and forks the
zygote, pid 1 inside them, then only waits, so that the death of either side ends both. The zygote never reads
a payload: the sources arrive as file descriptors and are read by the children, so nothing of a test can be
found in a solution's memory. It answers with exit statuses and times; what they mean is for `box` to say.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from . import clerk, inside, judge, layers, seccomp, solution_server, split
from .report import Limits

with suppress(ImportError):  # Windows has none, and no sandbox
    import resource

REQUEST = struct.Struct("=B")  # which of the four kinds of run
RESULT = struct.Struct("=iiBBBddQ")  # see RunResult
SPLIT, CALL, SEALED, SEAL = range(4)
FDS = 4  # solution, tests, verdict, stdout: always all four

SLOT_UIDS = range(59_000, 64_000)  # what slots of a root supervisor run as; no account should have them
GRACE_S = 0.5  # patience with the judge, who reports a timeout itself, with the outcomes so far
ENDING_S = 0.05  # for a solution that has closed its end of the channel to end altogether
VERDICT_BYTES = 1 << 20
CLERK_BYTES = 1 << 27  # a test text and its plan, or its two halves
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_OPEN_FILES = 64
_LIBRARY_FD = 3  # the interpreter's folder, in every process of the slot; or the null device
_LEFT_OUT = "left out on request"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What the zygote saw of a run; the statuses are those of wait(2)."""

    solution_status: int
    judge_status: int
    timed_out: bool
    clerk_lost: bool
    strays: int
    cpu_s: float
    wall_s: float
    max_rss_bytes: int

    def pack(self) -> bytes:
        return RESULT.pack(
            self.solution_status, self.judge_status, self.timed_out, self.clerk_lost, min(self.strays, 255),
            self.cpu_s, self.wall_s, self.max_rss_bytes,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> RunResult:
        solution, judge_status, timed_out, clerk_lost, *rest = RESULT.unpack(data)
        return cls(solution, judge_status, bool(timed_out), bool(clerk_lost), *rest)


# --- starting -----------------------------------------------------------------------------------------------


def main() -> None:
    """The launcher. argv: control socket, and the configuration as JSON."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.dup2(0, _LIBRARY_FD)  # taken now, so that nothing else gets the number
    config = json.loads(sys.argv[2])
    supervisor = os.pidfd_open(config["supervisor"])
    preloaded = warm_up(config["preload"], config["import_paths"])
    refused = dict.fromkeys(config["without"], _LEFT_OUT)
    root = os.getuid() == 0
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not root:
        _attempt(refused, "user", lambda: layers.new_user_namespace(proc))
    for name in layers.NAMESPACES:
        _attempt(refused, name, lambda name=name: layers.new_namespace(name))  # type: ignore[misc]
    pid = os.fork()
    if pid == 0:
        os.close(supervisor)
        _zygote(control, config, refused, proc, preloaded)
        os._exit(0)
    control.close()
    os.close(proc)
    if root:
        layers.become(config["uid"])
    _guard(pid, supervisor)


def _attempt(refused: dict[str, str], name: str, layer: Callable[[], None]) -> None:
    if name in refused:
        return
    try:
        layer()
    except OSError as problem:
        refused[name] = str(problem)


def _guard(zygote: int, supervisor: int) -> None:
    """Wait until one of the two is gone, then make sure of the other."""
    child = os.pidfd_open(zygote)
    poller = select.poll()
    poller.register(child, select.POLLIN)
    poller.register(supervisor, select.POLLIN)
    poller.poll()
    signal.pidfd_send_signal(child, signal.SIGKILL)
    os.waitpid(zygote, 0)
    os._exit(0)


def warm_up(preload: Sequence[str], import_paths: Sequence[str]) -> int:
    """Import what most runs need: an import in a fork costs it more than the memory costs the slot. `random` is
    not among them, and nothing that imports it: it seeds itself anew in every fork. Returns the address space that
    `preload` took, in bytes.
    """
    import bisect, copy, dataclasses, enum, functools, heapq, importlib.util, itertools, math, operator  # noqa: E401, F401, I001
    import re, string, typing  # noqa: E401, F401

    solution_server.keep_builtins()
    for text in (
        "assert f(1) == 2, 'text'",
        "assert f(1) == [2]",
    ):  # what is set up on first use is then set up for all
        split.plan(text)
    sys.path += [path for path in import_paths if path not in sys.path]
    before = _address_space()
    for name in preload:
        __import__(name)
    return _address_space() - before


def _address_space() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()


def _zygote(
    control: socket.socket, config: dict[str, Any], refused: dict[str, str], proc: int, preloaded: int
) -> None:
    # it can lie where the slot's uid cannot go
    library = os.open(sys.base_prefix, os.O_PATH | os.O_DIRECTORY)
    readable = layers.open_paths(_readable_paths(config["import_paths"]))
    devices = layers.open_paths(DEVICES)
    if "uts" not in refused:
        socket.sethostname("sandbox")
    limits = Limits(**config["limits"])
    _attempt(refused, "mount", lambda: layers.private_root(readable | devices, limits.scratch_bytes))
    has_scratch = bool(limits.scratch_bytes) and "mount" not in refused
    if os.getuid() == 0:
        layers.become(config["uid"])
        _attempt(refused, "user", lambda: layers.new_user_namespace(proc))
    os.close(proc)
    layers.drop_capabilities()
    layers.die_with_parent()
    layers.hide_memory()
    layers.adopt_orphans()
    _reach_library(library)
    owns_uid = config["root"] or "user" not in refused
    jail = Jail(limits, owns_uid, filtered="seccomp" not in refused, orphaned="pid" in refused)
    scratch = os.open(layers.SCRATCH, os.O_PATH) if has_scratch else None
    _attempt(refused, "landlock", lambda: layers.landlock(readable.values(), devices.values(), scratch))
    for fd in (*readable.values(), *devices.values(), *([] if scratch is None else [scratch])):
        os.close(fd)
    if has_scratch:
        os.chdir(layers.SCRATCH)
    _attempt(refused, "rlimits", lambda: layers.limit_slot(limits.memory_bytes + preloaded, _OPEN_FILES))
    if "seccomp" not in refused:
        refused |= jail.trial()
    for name in [name for name in sys.modules if name.split(".")[0] in ("sandbox", "__main__")]:
        del sys.modules[name]  # a program under test may use these names; ours stay alive by reference
    gc.collect()
    gc.freeze()
    os.dup2(0, 2)
    os.environ.clear()
    sys.argv[:] = sys.orig_argv[:] = [""]
    control.send(json.dumps({"refused": refused}).encode())
    _Slot(control, jail, pid_namespace="pid" not in refused).serve()


def _readable_paths(import_paths: Sequence[str]) -> list[str]:
    """What an import may need at run time: the standard library, shared libraries, time zones. Nested ones
    removed.
    """
    names = ("stdlib", "platstdlib")
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    paths = {sysconfig.get_path(name, vars=base) for name in names} | set(import_paths)
    paths |= {
        os.path.join(sys.base_prefix, "lib"),
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
    }
    paths |= {"/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime"}
    present = sorted(path for path in paths if os.path.exists(path))
    return [p for p in present if not any(p.startswith(other + "/") for other in present)]


def _reach_library(library: int) -> None:
    """Where the uid cannot walk to the standard library, import it through the folder, opened before."""
    if not any(os.access(path, os.X_OK) for path in sys.path if path.endswith("lib-dynload")):
        os.dup2(library, _LIBRARY_FD)
        through = f"/proc/self/fd/{_LIBRARY_FD}"
        for paths in (sys.path, *(m.__path__ for m in [*sys.modules.values()] if hasattr(m, "__path__"))):
            paths[:] = [path.replace(sys.base_prefix, through, 1) for path in paths]
        sys.path_importer_cache.clear()
    os.close(library)


# --- the jail of one process --------------------------------------------------------------------------------


class Jail:
    """What every forked child puts on before it touches a payload."""

    def __init__(self, limits: Limits, owns_uid: bool, filtered: bool, orphaned: bool) -> None:
        """`orphaned`: the end of the zygote does not end its children by itself."""
        self.limits = limits
        self._orphaned = orphaned
        self._cpu_s = int(limits.wall_s) + 2
        self._threads = limits.threads if owns_uid else None
        usable, scratch = filtered and seccomp.supported(), bool(limits.scratch_bytes)
        self._filter = seccomp.CompiledFilter(scratch) if usable else None

    def enter(self, file_bytes: int, bounded: bool = True) -> None:
        """For good. `bounded` is for what serves one run only."""
        if self._orphaned:
            layers.die_with_parent()
        layers.limit_run(self._cpu_s if bounded else None, file_bytes, self._threads)
        if self._filter:
            layers.install_filter(self._filter)

    @property
    def filtered(self) -> bool:
        return self._filter is not None

    def trial(self) -> dict[str, str]:
        """Put it on in a child and try the door: which of its layers do not hold here, and why."""
        if not self._filter:
            return {"seccomp": f"no system call table for {platform.machine()}"}
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, json.dumps(self._try_door()).encode())
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answer:
            text = answer.read()
        os.waitpid(pid, 0)
        found: dict[str, str] = json.loads(text or b'{"seccomp": "the trial process died"}')
        return found

    def _try_door(self) -> dict[str, str]:
        try:
            self.enter(1 << 16)
        except OSError as problem:
            return {"rlimits" if "prctl" not in str(problem) else "seccomp": str(problem)}
        try:
            socket.socket()
        except PermissionError:
            return {}
        return {"seccomp": "the filter was accepted and does not hold"}


# --- serving ------------------------------------------------------------------------------------------------


def _fork(
    jail: Jail,
    keep: tuple[int, ...],
    stdout: int | None,
    file_bytes: int,
    work: Callable[..., NoReturn],
    *args: Any,
) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _keep_only(keep, stdout)
        jail.enter(file_bytes, bounded=work is not clerk.serve)
        work(*args)
    finally:
        os._exit(70)  # `work` leaves by os._exit(0) itself; anything that comes here is a breakdown


class _Clerk:
    """The slot's own clerk, a child like the others but for living longer."""

    def __init__(self, jail: Jail) -> None:
        self.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self.pid = _fork(jail, (far.fileno(),), None, CLERK_BYTES, clerk.serve, far)

    def ask(self, wanted: int, deadline: float, fds: Sequence[int]) -> None:
        socket.send_fds(self.socket, [clerk.REQUEST.pack(wanted, deadline)], fds)

    def answer(self) -> tuple[int, float] | None:
        """What became of it and the CPU seconds; None when the clerk is no more."""
        data = self.socket.recv(clerk.REPLY.size)
        return clerk.REPLY.unpack(data) if data else None

    def dismiss(self) -> int:
        """End it; its wait status."""
        self.socket.close()
        os.kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1]


class _Slot:
    """Serves one request after the other."""

    def __init__(self, control: socket.socket, jail: Jail, pid_namespace: bool) -> None:
        self._control, self.jail, self._pid_namespace = control, jail, pid_namespace
        self._poller = select.poll()
        self._poller.register(control, 0)  # POLLHUP only
        self._clerk: _Clerk | None = None

    def serve(self) -> None:
        while True:
            header, fds, _, _ = socket.recv_fds(self._control, REQUEST.size, FDS)
            if not header:
                return
            result = _Run(self, *fds).result(*REQUEST.unpack(header))
            for fd in fds:
                os.close(fd)
            self._control.send(result.pack())

    def clerk(self) -> _Clerk:
        if self._clerk is None:
            self._clerk = _Clerk(self.jail)
            gc.freeze()  # out of the sight of what is forked from here
        return self._clerk

    def dismiss_clerk(self) -> int:
        status = self._clerk.dismiss() if self._clerk else 0
        self._clerk = None
        return status

    def ready(self, fd: int, deadline: float) -> bool:
        """Whether something came by then; if the supervisor goes first, so do we."""
        self._poller.register(fd, select.POLLIN)
        events = self._poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        self._poller.unregister(fd)
        if any(each == self._control.fileno() for each, _ in events):
            os._exit(0)
        return bool(events)

    def strays(self, ordinary: bool) -> int:
        """Count what a run left behind, after killing it. The filter lets nothing be made that could be left: so
        an ordinary run is believed, and only the dead are looked for.
        """
        if not ordinary:
            self.dismiss_clerk()
            return self._sweep() + self._empty_scratch()
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid = 0
        if self._clerk and pid == self._clerk.pid:
            self._clerk.socket.close()
            self._clerk = None
        return int(pid != 0) + self._empty_scratch()

    def _empty_scratch(self) -> int:
        """Remove the files of a run; what is not so simply removed counts as a stray, and ends the slot."""
        if not self.jail.limits.scratch_bytes:
            return 0
        with os.scandir(layers.SCRATCH) as entries:
            for entry in entries:
                with suppress(OSError):
                    (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)
        return len(os.listdir(layers.SCRATCH))

    def _sweep(self) -> int:
        """Only a pid namespace lets us name all there is at once."""
        if self._pid_namespace:
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                return 0
        strays = 0
        while True:
            try:
                pid, _ = os.waitpid(-1, 0 if self._pid_namespace else os.WNOHANG)
            except ChildProcessError:
                return strays
            strays += 1
            if pid == 0:  # alive, and not ours to name: the supervisor will end this slot
                return strays


class _Run:
    """One run: fork, watch, reap."""

    def __init__(self, slot: _Slot, solution: int, tests: int, verdict: int, stdout: int) -> None:
        self._slot, self._limits = slot, slot.jail.limits
        self._solution, self._tests, self._verdict, self._stdout = solution, tests, verdict, stdout
        self._started = time.monotonic()
        self._deadline = self._started + self._limits.wall_s
        self._patience = self._deadline + GRACE_S
        self._timed_out = False
        self._ordinary = slot.jail.filtered
        self._solution_status = 0
        self._clerk_lost = False
        self._cpu_s, self._max_rss_bytes = 0.0, 0

    def result(self, kind: int) -> RunResult:
        if kind == SPLIT:
            judge_status = self._split()
        elif kind == SEAL:
            judge_status = self._seal()
        elif kind == SEALED:
            judge_status = self._sealed()
        else:
            judge_status = self._calls()
        self._ordinary &= judge_status == 0 and not self._timed_out
        return RunResult(
            solution_status=self._solution_status,
            judge_status=judge_status,
            timed_out=self._timed_out,
            clerk_lost=self._clerk_lost,
            strays=self._slot.strays(self._ordinary),
            cpu_s=self._cpu_s,
            wall_s=time.monotonic() - self._started,
            max_rss_bytes=self._max_rss_bytes,
        )

    def _calls(self) -> int:
        fds = self._solution, self._tests, self._verdict
        file_bytes = max(solution_server.CALL_BYTES, self._limits.scratch_bytes)
        pid = _fork(self._slot.jail, fds, self._stdout, file_bytes, solution_server.call_all, *fds)
        self._solution_status = self._wait_for(pid)
        return self._solution_status

    def _split(self) -> int:
        """The judge's wait status, or the clerk's, which is 0 as long as it lives."""
        asked = self._slot.clerk()
        near, far = socket.socketpair()
        with near, far:
            fds = self._tests, self._verdict, far.fileno()
            asked.ask(clerk.JUDGE, self._deadline, fds)
            solution = self._solving(solution_server.serve, near)
            near.close()  # the last copy is the solution's: its end is heard at the other end
            became, status = self._hear_clerk()
            if became == clerk.NEEDS_JUDGE:
                work = judge.judge_alone, far, self._tests, self._verdict, self._deadline
                status = self._wait_for(_fork(self._slot.jail, fds, None, VERDICT_BYTES, *work))
            gone = became == clerk.GONE or (os.WIFEXITED(status) and os.WEXITSTATUS(status) == judge.GONE)
            self._solution_status = self._reap(solution, ENDING_S if gone else 0.0)
        return 0 if gone else status

    def _seal(self) -> int:
        self._slot.clerk().ask(clerk.SEAL, self._deadline, (self._tests, self._verdict))
        return self._hear_clerk()[1]

    def _sealed(self) -> int:
        """The judge's wait status; the tests run with the solution."""
        near, far = socket.socketpair()
        with near, far:
            solution = self._solving(inside.run, near)
            near.close()
            work = inside.answer, far, self._tests, self._verdict, self._deadline
            fds = self._tests, self._verdict, far.fileno()
            status = self._wait_for(_fork(self._slot.jail, fds, None, VERDICT_BYTES, *work))
            gone = os.WIFEXITED(status) and os.WEXITSTATUS(status) == judge.GONE
            self._solution_status = self._reap(solution, ENDING_S if gone else 0.0)
        return 0 if gone else status

    def _solving(self, work: Callable[[socket.socket, int], NoReturn], near: socket.socket) -> int:
        """Fork the solution's process."""
        keep = self._solution, near.fileno()
        # one more, so that an overflow shows; scratch files are files too
        file_bytes = max(self._limits.output_bytes + 1, self._limits.scratch_bytes)
        return _fork(self._slot.jail, keep, self._stdout, file_bytes, work, near, self._solution)

    def _hear_clerk(self) -> tuple[int | None, int]:
        """What became of what it was asked, None when nothing did; and its wait status."""
        asked = self._slot.clerk()
        in_time = self._slot.ready(asked.socket.fileno(), self._patience)
        answer = asked.answer() if in_time else None
        if answer is None:
            self._timed_out, self._clerk_lost = not in_time, in_time
            return None, self._slot.dismiss_clerk()
        became, cpu_s = answer
        self._cpu_s += cpu_s
        self._ordinary &= became != clerk.DONE_AND_LEAVING
        return became, 0

    def _wait_for(self, pid: int) -> int:
        """The wait status of a process that is to end by itself."""
        end = os.pidfd_open(pid)
        self._timed_out = not self._slot.ready(end, self._patience)
        os.close(end)
        return self._reap(pid)

    def _reap(self, pid: int, patience_s: float = 0.0) -> int:
        if patience_s:  # it is ending by itself: its own status, not that of our kill
            end = os.pidfd_open(pid)
            self._slot.ready(end, time.monotonic() + patience_s)
            os.close(end)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        self._cpu_s += usage.ru_utime + usage.ru_stime
        self._max_rss_bytes = max(self._max_rss_bytes, usage.ru_maxrss * 1024)
        return status


def _keep_only(keep: tuple[int, ...], stdout: int | None) -> None:
    """Close all but these; 0 to 2 are the null device, but for a wanted standard output."""
    if stdout is not None:
        os.dup2(stdout, 1)
    low = _LIBRARY_FD + 1
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _OPEN_FILES)

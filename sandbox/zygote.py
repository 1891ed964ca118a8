"""A slot: one warmed interpreter, sealed off, that forks the processes of each run.

Started by `box` as `python -I -S` with a clean environment. The launcher takes the namespaces and forks the
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
from dataclasses import dataclass
from typing import Any

from . import callee, judge, layers, seccomp, split
from .report import Limits

REQUEST = struct.Struct("=B")  # which of the three kinds of run
RESULT = struct.Struct("=iiBBddQ")  # see RunResult
SPLIT, CALL, IN_PROCESS = range(3)
FDS = 4  # solution, tests, verdict, stdout: always all four

SLOT_UID = 59_000  # first of the uids that slots of a root supervisor run as; no account should have them
GRACE_S = (
    0.5  # the judge reports a timeout itself, with the outcomes so far; this is the patience with the judge
)
VERDICT_BYTES = 1 << 24
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_OPEN_FILES = 64
_LEFT_OUT = "left out on request"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What the zygote saw of a run; the statuses are those of wait(2)."""

    solution_status: int
    judge_status: int
    timed_out: bool
    strays: int
    cpu_s: float
    wall_s: float
    max_rss_bytes: int

    def pack(self) -> bytes:
        return RESULT.pack(
            self.solution_status, self.judge_status, self.timed_out, min(self.strays, 255),
            self.cpu_s, self.wall_s, self.max_rss_bytes,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> RunResult:
        solution, judge_status, timed_out, *rest = RESULT.unpack(data)
        return cls(solution, judge_status, bool(timed_out), *rest)


# --- starting -----------------------------------------------------------------------------------------------


def main() -> None:
    """The launcher. argv: control socket, and the configuration as JSON."""
    control = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(sys.argv[2])
    supervisor = os.pidfd_open(config["supervisor"])
    warm_up(config["preload"], config["import_paths"])
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
        _zygote(control, config, refused, proc)
        os._exit(0)
    control.close()
    os.close(proc)
    if root:
        layers.become(SLOT_UID + config["index"])
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


def warm_up(preload: Sequence[str], import_paths: Sequence[str]) -> None:
    """Import what most runs need: an import in a fork costs it more than the memory costs the slot."""
    import bisect, copy, dataclasses, enum, functools, heapq, itertools, math, operator, random  # noqa: E401, F401, I001
    import re, statistics, string, typing  # noqa: E401, F401

    split.plan("assert f(1) == 2, 'text'")  # what is set up on first use is then set up for every fork
    sys.path += [path for path in import_paths if path not in sys.path]
    for name in preload:
        __import__(name)


def _zygote(control: socket.socket, config: dict[str, Any], refused: dict[str, str], proc: int) -> None:
    library = _library_fd()
    readable = layers.open_paths(_readable_paths(config["import_paths"]))
    devices = layers.open_paths(DEVICES)
    _attempt(refused, "mount", lambda: layers.private_root(readable | devices))
    if os.getuid() == 0:
        layers.become(SLOT_UID + config["index"])
        _attempt(refused, "user", lambda: layers.new_user_namespace(proc))
    os.close(proc)
    layers.drop_capabilities()
    layers.die_with_parent()
    layers.hide_memory()
    layers.adopt_orphans()
    _reach_library(library)
    owns_uid = config["root"] or "user" not in refused
    jail = Jail(Limits(**config["limits"]), owns_uid, filtered="seccomp" not in refused)
    _attempt(refused, "landlock", lambda: layers.landlock(readable.values(), devices.values()))
    for fd in (*readable.values(), *devices.values()):
        os.close(fd)
    if "seccomp" not in refused:
        refused |= jail.trial()
    for name in [name for name in sys.modules if name.split(".")[0] in ("sandbox", "__main__")]:
        del sys.modules[name]  # a program under test may use these names; ours stay alive by reference
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"refused": refused}).encode())
    _serve(control, jail, pid_namespace="pid" not in refused)


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


def _library_fd() -> int:
    """The interpreter's folder, opened while we still may: it can lie under a folder the slot's uid cannot
    enter.
    """
    return os.open(sys.base_prefix, os.O_PATH | os.O_DIRECTORY)


def _reach_library(library: int) -> None:
    """Where the uid cannot walk to the standard library, import it through the open folder instead."""
    if any(os.access(path, os.X_OK) for path in sys.path if path.endswith("lib-dynload")):
        os.close(library)
        return
    sys.path[:] = [path.replace(sys.base_prefix, f"/proc/self/fd/{library}", 1) for path in sys.path]
    sys.path_importer_cache.clear()


# --- the jail of one process --------------------------------------------------------------------------------


class Jail:
    """What every forked child puts on before it touches a payload."""

    def __init__(self, limits: Limits, owns_uid: bool, filtered: bool) -> None:
        self.limits = limits
        self._threads = limits.threads if owns_uid else None
        self._filter = seccomp.CompiledFilter() if filtered and seccomp.supported() else None

    def enter(self, file_bytes: int) -> None:
        layers.die_with_parent()
        cpu_s = int(self.limits.wall_s) + 2
        layers.limit(self.limits.memory_bytes, cpu_s, file_bytes, _OPEN_FILES, self._threads)
        if self._filter:
            layers.install_filter(self._filter)

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


def _serve(control: socket.socket, jail: Jail, pid_namespace: bool) -> None:
    while True:
        header, fds, _, _ = socket.recv_fds(control, REQUEST.size, FDS)
        if not header:
            return
        (kind,) = REQUEST.unpack(header)
        result = _Run(kind, fds, jail, control, pid_namespace).result()
        control.send(result.pack())


class _Run:
    """One run: fork, watch, reap."""

    def __init__(
        self, kind: int, fds: Sequence[int], jail: Jail, control: socket.socket, pid_namespace: bool
    ) -> None:
        self._jail, self._control, self._pid_namespace = jail, control, pid_namespace
        self._started = time.monotonic()
        self._deadline = self._started + jail.limits.wall_s
        self._timed_out = False
        self._pids = self._fork_all(kind, *fds)
        for fd in fds:
            os.close(fd)

    def _fork_all(self, kind: int, solution: int, tests: int, verdict: int, stdout: int) -> list[int]:
        """The solution's process first, the one whose end is the end of the run last."""
        output_bytes = self._jail.limits.output_bytes + 1  # one more, so that an overflow shows
        if kind == CALL:
            size = VERDICT_BYTES
            return [
                self._fork(
                    (solution, tests, verdict), stdout, size, callee.call_all, solution, tests, verdict
                )
            ]
        if kind == IN_PROCESS:
            work = judge.run_in_process, solution, tests, verdict, self._deadline
            return [self._fork((solution, tests, verdict), stdout, VERDICT_BYTES, *work)]
        near, far = socket.socketpair()
        with near, far:
            serve = callee.serve, near, solution
            first = self._fork((solution, near.fileno()), stdout, output_bytes, *serve)
            ask = judge.run_split, far, tests, verdict, self._deadline
            return [first, self._fork((tests, verdict, far.fileno()), None, VERDICT_BYTES, *ask)]

    def _fork(
        self,
        keep: tuple[int, ...],
        stdout: int | None,
        file_bytes: int,
        work: Callable[..., None],
        *args: Any,
    ) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            _keep_only(keep, stdout)
            self._jail.enter(file_bytes)
            work(*args)
        finally:
            os._exit(70)  # `work` leaves by os._exit(0) itself; anything that comes here is a breakdown

    def result(self) -> RunResult:
        self._watch(self._pids[-1])
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        ends = [os.wait4(pid, 0) for pid in self._pids]
        usage = [end[2] for end in ends]
        return RunResult(
            solution_status=ends[0][1],
            judge_status=ends[-1][1],
            timed_out=self._timed_out,
            strays=self._sweep(),
            cpu_s=sum(u.ru_utime + u.ru_stime for u in usage),
            wall_s=time.monotonic() - self._started,
            max_rss_bytes=usage[0].ru_maxrss * 1024,
        )

    def _watch(self, leader: int) -> None:
        """Until the leader ends or its time is over; if the supervisor goes first, so do we."""
        end = os.pidfd_open(leader)
        poller = select.poll()
        poller.register(end, select.POLLIN)
        poller.register(self._control, 0)  # POLLHUP only
        events = poller.poll(max(0.0, self._deadline + GRACE_S - time.monotonic()) * 1000)
        os.close(end)
        if any(fd == self._control.fileno() for fd, _ in events):
            os._exit(0)
        self._timed_out = not events

    def _sweep(self) -> int:
        """Kill and count what the run left behind. Only a pid namespace lets us name all of it at once."""
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


def _keep_only(keep: tuple[int, ...], stdout: int | None) -> None:
    """Descriptors of a child: its own, the null device, stdout; the library's folder where it is needed."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null if stdout is None else stdout, 1)
    os.dup2(null, 2)
    library = [int(path.split("/")[4]) for path in sys.path if path.startswith("/proc/self/fd/")]
    wanted = sorted({0, 1, 2, *keep, *library[:1]})
    for low, high in zip(wanted, [*wanted[1:], _OPEN_FILES], strict=True):
        os.closerange(low + 1, high)

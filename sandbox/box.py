"""The supervisor: owns the slots, hands them work, and decides what a run's evidence amounts to.

It never runs, imports or unpickles anything of a program under test; it reads one bounded JSON verdict per
run and the exit statuses the zygote saw. Used by everything that needs code executed; safe to call from many
threads at once.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, get_args

from . import judge, zygote
from .inside import request
from .report import Failure, Limits, Mode, Outcome, Output, Report, SandboxUnavailable, Status
from .solution_server import is_entry_point
from .wire import Budget, CannotCross, Decoder, Encoder, WireError, dumps, loads

LAYERS = ("user", "mount", "pid", "net", "ipc", "uts", "landlock", "seccomp", "rlimits")
_NEEDED_FOR_L3 = frozenset(("mount", "pid", "net", "ipc"))
_START_S = 20.0
_WATCHDOG_S = 5.0
_RUNS_PER_SLOT = 2000
_CLOSED = "the sandbox is closed"
_ATTEMPTS = 3  # a run gets one retry; one more, because a slot can also be killed while it starts
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
# Registered by hand, so that a slot imports its own modules only and the caller's sys.path not at all.
_BOOT = (
    "import sys, types; p = types.ModuleType('sandbox'); p.__path__ = [sys.argv[3]];"
    "sys.modules['sandbox'] = p; from sandbox.zygote import main; main()"
)
_JUDGED = {*get_args(Status), "gone"} - {"sandbox_error"}
_CURES = """\
Cures, any one of them:
  - run as an ordinary user, on Linux >= 5.13 with Landlock in /sys/kernel/security/lsm, x86_64 or aarch64;
  - in a container, use a seccomp profile that allows landlock_*, seccomp and prctl (Docker's does);
  - accept less for code you trust: allow_unsandboxed=True (--allow-unsandboxed); reports say so."""


class SlotLost(RuntimeError):
    """The slot died or fell silent: infrastructure, not a verdict."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that is known of a run."""

    result: zygote.RunResult
    verdict: bytes
    stdout: bytes


_numbers = itertools.count()


def _free_uid() -> int:
    """A uid for one slot alone, in this process and most likely beside others: the limit on threads counts by uid."""
    return zygote.SLOT_UIDS[(64 * os.getpid() + next(_numbers)) % len(zygote.SLOT_UIDS)]


def level_of(layers: Iterable[str]) -> str:
    on = set(layers)
    if {"landlock", "seccomp", "rlimits"} <= on:
        return "L3" if on >= _NEEDED_FOR_L3 else "L2"
    return "L1" if "seccomp" in on or on >= _NEEDED_FOR_L3 else "L0"


def explain(layer: str, text: str) -> str:
    """The known refusals of user namespaces and their neighbours, in words that can be acted on."""
    if "Errno 28" in text:
        return f"{layer}: {text} (sysctl user.max_user_namespaces is 0 or used up)"
    if "Errno 13" in text:
        return f"{layer}: {text} (AppArmor: kernel.apparmor_restrict_unprivileged_userns is 1)"
    if "Errno 1]" in text:
        return f"{layer}: {text} (a container's seccomp profile or a missing capability forbids it)"
    if "Errno 38" in text or "Errno 95" in text:
        return f"{layer}: {text} (this kernel was built or booted without it)"
    return f"{layer}: {text}"


class Slot:
    """One zygote and the socket to it. Not thread-safe but for `close`: whoever took it from the queue has it alone."""

    def __init__(
        self, limits: Limits, hash_seed: int, preload: Sequence[str], without: Sequence[str]
    ) -> None:
        self._uid, self._hash_seed = _free_uid(), hash_seed
        self.limits = limits
        """Of the next run: other ones than those it was started with cost a new start."""
        self._started_with = limits
        self._preload, self._without = list(preload), list(without)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._runs = 0
        self._closed = False
        self.lock = threading.Lock()
        """Held by whoever is starting or using it."""
        self.refused: dict[str, str] = {}

    def ensure_started(self) -> None:
        """Raises SlotLost with what the interpreter said when it does not come up, or after `close`."""
        if self._closed:
            raise SlotLost(_CLOSED)
        fresh = self._runs < _RUNS_PER_SLOT and self._started_with == self.limits
        if self._process is not None and self._process.poll() is None and fresh:
            return
        self.kill()
        self._started_with = self.limits
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("errors")
        with far:
            self._process = subprocess.Popen(
                # like -I, which would ignore the hash seed
                [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", _BOOT,
                 str(far.fileno()), json.dumps(self._config()), _PACKAGE],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, pass_fds=(far.fileno(),),
                env=_clean_environment(self._hash_seed), cwd="/", start_new_session=True,
            )  # fmt: skip
        near.settimeout(_START_S)
        self._control, self._runs = near, 0
        hello = _received(near)
        said = os.pread(errors, 1 << 14, 0).decode(errors="replace")
        os.close(errors)
        if not hello:
            self.kill()
            raise SlotLost(f"the slot did not start: {said.strip()[-1000:] or 'no message'}")
        self.refused = json.loads(hello)["refused"]

    def _config(self) -> dict[str, Any]:
        return {
            "supervisor": os.getpid(),
            "uid": self._uid,
            "root": os.getuid() == 0,
            "limits": asdict(self.limits),
            "preload": self._preload,
            "without": self._without,
            "import_paths": _site_paths() if self._preload else [],
        }

    def run(self, kind: int, solution: bytes, request: bytes) -> _Evidence:
        """Raises SlotLost when no result comes back in time."""
        self.ensure_started()
        assert self._control is not None
        fds: list[int] = []
        try:
            fds += (_memfd(payload) for payload in (solution, request, b"", b""))
            self._control.settimeout(self.limits.wall_s + _WATCHDOG_S)
            result = self._ask(kind, fds)
            self._runs += 1
            if result.strays:
                self.kill()
            if result.clerk_lost:
                raise SlotLost("the clerk died during the run")
            return _Evidence(
                result,
                _contents(fds[2], zygote.CLERK_BYTES),
                _contents(fds[3], self.limits.output_bytes + 1),
            )
        except BaseException:  # an answer may be on its way, and must not become the next run's
            self.kill()
            raise
        finally:
            for fd in fds:
                os.close(fd)

    def _ask(self, kind: int, fds: list[int]) -> zygote.RunResult:
        assert self._control is not None
        try:
            socket.send_fds(self._control, [zygote.REQUEST.pack(kind)], fds)
        except OSError as problem:
            self.kill()
            raise SlotLost(str(problem)) from problem
        data = _received(self._control)
        if len(data) != zygote.RESULT.size:
            self.kill()
            raise SlotLost("the zygote died or fell silent during the run")
        return zygote.RunResult.unpack(data)

    def close(self) -> None:
        """End it for good, from any thread: what it is doing for another one ends as lost."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self.lock:
            self.kill()

    def leave_to_parent(self) -> None:
        """Close this process's copy of the way to it, after a fork."""
        if self._control is not None:
            self._control.close()

    def kill(self) -> None:
        """End the launcher, and by that everything in the slot; safe to repeat."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        """Of the launcher."""
        return self._process.pid if self._process else None


def _received(control: socket.socket) -> bytes:
    try:
        return control.recv(1 << 16)
    except OSError:  # a timeout or a reset: both mean that no answer came
        return b""


def _memfd(data: bytes) -> int:
    fd = os.memfd_create("payload")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def _contents(fd: int, bound: int) -> bytes:
    return os.pread(fd, min(os.fstat(fd).st_size, bound), 0)


def _clean_environment(hash_seed: int) -> dict[str, str]:
    return {
        "PYTHONHASHSEED": str(hash_seed),
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _site_paths() -> list[str]:
    return [
        path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and os.path.isdir(path)
    ]


def _kill_slots(slots: Sequence[Slot], owner: int) -> None:
    if os.getpid() == owner:  # a forked copy of this object owns nothing
        for slot in slots:
            slot.close()


_alive: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _renew() -> None:
    for box in _alive:
        box._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class Sandbox:
    """Runs untrusted Python. Raises SandboxUnavailable when less than level L2 can be had, unless told to
    accept it.
    """

    def __init__(
        self,
        slots: int = 2,
        limits: Limits | None = None,
        hash_seed: int = 0,
        allow_unsandboxed: bool = False,
        preload: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        """`preload` names installed packages to import into every slot; `without` names LAYERS not to take,
        so that the others can be tested and measured alone.
        """
        if unknown := set(without) - set(LAYERS):
            raise ValueError(f"no such layer: {', '.join(sorted(unknown))}; there are {', '.join(LAYERS)}")
        if platform.system() != "Linux":
            raise SandboxUnavailable(
                f"the sandbox needs Linux, and this is {platform.system()}: use a Linux machine or a container"
            )
        if not 0 <= hash_seed < 1 << 32:
            raise ValueError(f"hash_seed {hash_seed} is not in 0 .. 2**32 - 1")
        if slots < 1:
            raise ValueError("slots must be at least 1")
        self.limits = limits or Limits()
        self._make_slots: Callable[[], list[Slot]] = lambda: [
            Slot(self.limits, hash_seed, preload, without) for _ in range(slots)
        ]
        self._own_slots()
        _alive.add(self)
        try:
            self._slots[0].ensure_started()
        except (SlotLost, OSError) as problem:
            raise SandboxUnavailable(f"{problem}\n{_CURES}") from problem
        self.refused = self._slots[0].refused
        """Layers that this machine refused, with the kernel's words."""
        self.layers = tuple(name for name in LAYERS if name not in self.refused)
        self.level = level_of(self.layers)
        if self.level < "L2" and not allow_unsandboxed:
            self.close()
            missing = "\n".join(f"  {explain(name, text)}" for name, text in self.refused.items())
            raise SandboxUnavailable(
                f"only level {self.level} is available; missing layers:\n{missing}\n{_CURES}"
            )
        if self.limits.scratch_bytes and "mount" in self.refused:
            self.close()
            why = explain("mount", self.refused["mount"])
            raise SandboxUnavailable(f"scratch_bytes needs a mount namespace of its own: {why}")
        for slot in reversed(self._slots):
            self._free.put(slot)

    def _own_slots(self) -> None:
        """Slots of this process: those of its parent answer to its parent."""
        self._slots = self._make_slots()
        self._closer = weakref.finalize(self, _kill_slots, self._slots, os.getpid())
        self._free: queue.LifoQueue[Slot] = queue.LifoQueue()

    def _after_fork(self) -> None:
        if not self._closer.alive:
            return
        for slot in self._slots:
            slot.leave_to_parent()
        self._own_slots()
        for slot in reversed(self._slots):
            self._free.put(slot)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every slot; runs that are going on in other threads end as `sandbox_error`."""
        self._closer()

    # --- checks ---------------------------------------------------------------------------------------------

    def check(
        self,
        solution: str,
        tests: str,
        entry_point: str | None = None,
        wall_s: float | None = None,
        fail_fast: bool = False,
    ) -> Report:
        """One solution against one test text. `entry_point` is `f`, `Class.method` or `Class().method`: it goes to an
        uncalled `check(candidate)`, is never taken from the standard library, and a class of that name is not believed
        what it says of its objects. With `fail_fast` the first assert that does not hold is the last to run. `wall_s`
        stands in for that of the limits: for a run now and then, since another one than the slot had before costs a
        start of the slot, some 0.1 s. Raises ValueError for an entry point of another form.
        """
        _known_form(entry_point)
        header = {"entry_point": entry_point, "fail_fast": fail_fast}
        text = tests.encode("utf-8", "surrogatepass")
        with self._slot(wall_s) as slot:
            report, verdict = self._checked(
                slot, "split", solution.encode("utf-8", "surrogatepass"), header, text
            )
            if "unsplittable" not in verdict and "doubt" not in verdict:
                return report
            return self._beside(slot, solution, header, text, report, verdict)

    def _beside(
        self, slot: Slot, solution: str, header: dict[str, Any], tests: bytes, report: Report, first: dict[str, Any]
    ) -> Report:  # fmt: skip
        """The tests again, in the solution's own process: what a copy or a proxy made fail may hold there. Where they
        cannot be divided for that, nobody knows.
        """
        doubt = first.get("unsplittable") or first["doubt"]
        made = self._sealed(slot, header, tests)
        if isinstance(made, str):
            return _undecided(report, f"{doubt or 'the tests set state of their process'}; {made}")
        inside, answers = made
        program = request(solution.encode("utf-8", "surrogatepass"), inside)
        found, _ = self._checked(slot, "in-process", program, header, answers)
        return (
            report
            if report.status == "test_error" and not (found.passed or "unsplittable" in first)
            else found
        )

    def check_many(
        self, pairs: Iterable[tuple[str, str] | tuple[str, str, str | None]], fail_fast: bool = False
    ) -> list[Report]:
        """In the order given, on every slot at once: what `check` takes, each in a tuple."""
        check: Callable[..., Report] = partial(self.check, fail_fast=fail_fast)
        with ThreadPoolExecutor(len(self._slots)) as pool:
            return list(pool.map(lambda pair: check(*pair), pairs))

    async def acheck(self, solution: str, tests: str, entry_point: str | None = None) -> Report:
        import asyncio  # only asynchronous callers need it, and they have it already

        return await asyncio.to_thread(self.check, solution, tests, entry_point)

    async def acheck_many(
        self, pairs: Iterable[tuple[str, str] | tuple[str, str, str | None]]
    ) -> list[Report]:
        import asyncio

        return await asyncio.to_thread(self.check_many, list(pairs))

    # --- calls ----------------------------------------------------------------------------------------------

    def call(
        self,
        solution: str,
        entry_point: str,
        args_list: Sequence[tuple[Any, ...]],
        wall_s: float | None = None,
    ) -> list[Output]:
        """What the entry point returns for each tuple of arguments, all in one process; `wall_s` as in `check`.

        Raises ValueError for an entry point of a form that `check` does not know, and wire.CannotCross when an
        argument is not made of exact builtin types. The outputs are the solution's own word: what it computes, or
        makes up, nobody compares here.
        """
        _known_form(entry_point)
        calls = [_encoded(tuple(args)) for args in args_list]
        request = {"entry_point": entry_point, "calls": calls}
        with self._slot(wall_s) as slot:
            program = solution.encode("utf-8", "surrogatepass")
            evidence, limits = self._evidence(slot, zygote.CALL, program, dumps(request)), slot.limits
        if isinstance(evidence, str):
            return [Output(status="sandbox_error", error=evidence)] * len(args_list)
        return _outputs(evidence, len(args_list), limits)

    async def acall(
        self, solution: str, entry_point: str, args_list: Sequence[tuple[Any, ...]]
    ) -> list[Output]:
        import asyncio

        return await asyncio.to_thread(self.call, solution, entry_point, args_list)

    # --- inside ---------------------------------------------------------------------------------------------

    @contextmanager
    def _slot(self, wall_s: float | None = None) -> Iterator[Slot]:
        if not self._closer.alive:
            raise RuntimeError(_CLOSED)
        limits = self.limits if wall_s is None else replace(self.limits, wall_s=wall_s)
        slot = self._free.get()
        slot.limits = limits
        try:
            yield slot
        finally:
            self._free.put(slot)

    def _evidence(self, slot: Slot, kind: int, program: bytes, request: bytes) -> _Evidence | str:
        """Tried again on a fresh slot when the slot is lost; in the end, the infrastructure's own words."""
        lost = ""
        for _ in range(_ATTEMPTS):
            try:
                return self._at_level(slot, kind, program, request)
            except (SlotLost, OSError) as problem:
                slot.kill()
                lost = str(problem)
        return lost

    def _at_level(self, slot: Slot, kind: int, solution: bytes, request: bytes) -> _Evidence:
        with slot.lock:
            slot.ensure_started()
            if slot.refused.keys() - self.refused.keys():
                raise SlotLost(f"the slot came up with fewer layers than before: {slot.refused}")
            return slot.run(kind, solution, request)

    def _checked(
        self, slot: Slot, mode: Mode, program: bytes, header: dict[str, Any], tests: bytes
    ) -> tuple[Report, dict[str, Any]]:
        """The report, and the judge's own record, which is empty when there is none. In-process, both texts are the
        halves that `_sealed` made.
        """
        split = mode == "split"
        wanted = _request(header, tests, len(tests) if split else 0)
        evidence = self._evidence(slot, zygote.SPLIT if split else zygote.SEALED, program, wanted)
        stamp: dict[str, Any] = {"mode": mode, "level": self.level, "layers": self.layers}
        if isinstance(evidence, str):
            return Report(status="sandbox_error", error=_lost(evidence), **stamp), {}
        verdict, result = _read_verdict(evidence.verdict), evidence.result
        stamp |= {"cpu_s": result.cpu_s, "wall_s": result.wall_s, "max_rss_bytes": result.max_rss_bytes}
        stamp["stdout"] = evidence.stdout[: self.limits.output_bytes].decode(errors="replace")
        if verdict is not None and "unsplittable" in verdict:
            return Report(status="test_error", **stamp), verdict
        return _judged(verdict, evidence, slot.limits, stamp), verdict or {}

    def _sealed(self, slot: Slot, header: dict[str, Any], tests: bytes) -> tuple[bytes, bytes] | str:
        """The two halves of the tests, or why they cannot be divided."""
        evidence = self._evidence(slot, zygote.SEAL, b"", _request(header, tests, len(tests)))
        if isinstance(evidence, str):
            return evidence
        try:
            made = loads(evidence.verdict)
            if "unsealable" in made:
                return str(made["unsealable"])
            inside, answers = made["halves"]
            return bytes.fromhex(inside), bytes.fromhex(answers)
        except (WireError, TypeError, ValueError, KeyError) as problem:
            return str(problem)


def _undecided(report: Report, why: str) -> Report:
    """No verdict, with the reason in place of the failure that may be ours."""
    error = Failure(type="Undecided", message=why[: judge.MAX_TEXT])
    return replace(report, status="test_error", error=error)


def _known_form(entry_point: str | None) -> None:
    if entry_point is not None and not is_entry_point(entry_point):
        raise ValueError(f"an entry point is f, Class.method or Class().method, not {entry_point!r}")


def _request(header: dict[str, Any], tests: bytes, text_bytes: int) -> bytes:
    """What `judge.Request` reads: `text_bytes` of text, the rest is a plan."""
    return dumps(header | {"bytes": text_bytes}) + b"\n" + tests


def _lost(words: str) -> Failure:
    return Failure(type="SandboxError", message=words)


def _encoded(args: tuple[Any, ...]) -> Any:
    try:
        return Encoder(exact=Budget(1 << 20)).encode(args)
    except RecursionError:
        raise CannotCross("an argument contains itself, or is nested too deeply") from None


def _outputs(evidence: _Evidence, count: int, limits: Limits) -> list[Output]:
    if len(evidence.stdout) > limits.output_bytes:
        return [Output(status="output_limit", error="too much on standard output")] * count
    lines = evidence.verdict.split(b"\n")[:-1]
    outputs: list[Output] = []
    budget = Budget.of_run()
    for line in lines[:count]:
        try:
            record = loads(line)
            if "load" in record:
                return [_output(record["load"], ("error", "memory", "exited"), budget)] * count
            outputs.append(_output(record, ("ok", "error", "memory", "exited", "output_limit"), budget))
        except (WireError, KeyError, TypeError) as problem:
            outputs.append(Output(status="tampered", error=str(problem)))
    status = _end_of_solution(evidence.result, limits)
    missing = Output(status=status, error=f"the run ended as {status} before this call did")
    return outputs + [missing] * (count - len(outputs))


def _output(record: dict[str, Any], allowed: tuple[str, ...], budget: Budget) -> Output:
    status, error = record["status"], record.get("error")
    if status not in allowed or type(error) not in (str, type(None)):
        raise WireError("not the record of a call")
    args = Decoder(exact=budget.of_one_value()).decode(record["args"]) if "args" in record else None
    if type(args) not in (tuple, type(None)):
        raise WireError("arguments that are no tuple")
    value = Decoder(exact=budget.of_one_value()).decode(record["value"]) if status == "ok" else None
    return Output(status=status, value=value, error=error, mutated_args=args)


def _read_verdict(data: bytes) -> dict[str, Any] | None:
    """The judge's record if it is one and whole; anything else is no verdict."""
    try:
        verdict = loads(data)
    except WireError:
        return None
    if not isinstance(verdict, dict):
        return None
    if "unsplittable" in verdict:
        return verdict
    total, outcomes = verdict.get("total"), verdict.get("outcomes")
    whole = (
        verdict.get("status") in _JUDGED
        and type(total) is int
        and type(verdict.get("run")) is int
        and isinstance(outcomes, list)
        and len(outcomes) == total
        and isinstance(labels := verdict.get("labels", []), list)
        and len(labels) <= total
        and all(type(label) is str for label in labels)
        and all(outcome in get_args(Outcome) for outcome in outcomes)
        and _is_failure(verdict.get("error"))
    )
    return verdict if whole else None


def _is_failure(error: Any) -> bool:
    """Whether `Failure` can be made of it; in-process, this too is only the solution's word."""
    if error is None:
        return True
    kinds = {"type": str, "message": str, "assert_index": int, "expected": str, "got": str}
    return (
        isinstance(error, dict)
        and {"type", "message"} <= error.keys() <= kinds.keys()
        and all(value is None or type(value) is kinds[name] for name, value in error.items())
        and all(len(value) <= judge.MAX_TEXT for value in error.values() if isinstance(value, str))
    )


def _judged(
    verdict: dict[str, Any] | None, evidence: _Evidence, limits: Limits, stamp: dict[str, Any]
) -> Report:
    """From evidence to status: a pass needs all of it to say so, a limit that was hit overrides it."""
    result = evidence.result
    status: Status
    if len(evidence.stdout) > limits.output_bytes:
        status, words = "output_limit", f"more than {limits.output_bytes} bytes on standard output"
    elif result.timed_out:
        status, words = "timeout", f"no verdict within {limits.wall_s} s"
    elif verdict is None or result.judge_status != 0:
        status, words = "test_error", "the test process ended without a verdict"
    elif verdict["status"] == "gone":
        status, words = _end_of_solution(result, limits), "the solution's process ended during the run"
    else:
        status, words = verdict["status"], ""
    known = {} if verdict is None else _counts(verdict)
    error = Failure(type=status, message=words) if words else _failure(verdict)
    return Report(status=status, error=error, **known, **stamp)


def _end_of_solution(result: zygote.RunResult, limits: Limits) -> Status:
    """How a solution's process that is no longer there went, by its wait status."""
    if result.timed_out:
        return "timeout"
    if os.WIFEXITED(result.solution_status):
        return "exited"
    by_cpu = result.cpu_s >= int(limits.wall_s) + 1
    if os.WTERMSIG(result.solution_status) in (signal.SIGXCPU, signal.SIGKILL) and by_cpu:
        return "timeout"
    return "crash"


def _counts(verdict: dict[str, Any]) -> dict[str, Any]:
    return {
        "asserts_run": verdict["run"],
        "asserts_total": verdict["total"],
        "outcomes": tuple(verdict["outcomes"]),
    }


def _failure(verdict: dict[str, Any] | None) -> Failure | None:
    error = verdict.get("error") if verdict else None
    return Failure(**error) if error else None


@dataclass(frozen=True, slots=True)
class Probe:
    """What this machine offers, found out by doing it."""

    level: str
    layers: tuple[str, ...]
    refused: dict[str, str]


def probe() -> Probe:
    """Start one slot, ask what it could put on, and end it."""
    with Sandbox(slots=1, allow_unsandboxed=True) as box:
        return Probe(box.level, box.layers, box.refused)

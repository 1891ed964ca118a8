"""Attacks the sandbox on this machine: every hostile program, with canaries outside that must stay untouched.

Used by `python -m sandbox selfcheck` and by the tests. It checks effects, not only statuses: the secret file,
the writable folder, the listening sockets, this process and what runs under it are looked at after every
program.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import adaptive, hostile
from .box import Sandbox
from .hostile import Hostile
from .report import Limits

PROGRAMS = (*hostile.programs(), *adaptive.programs())
LIMITS = Limits(wall_s=1.0, memory_bytes=256 << 20)


@dataclass(frozen=True, slots=True)
class Canaries:
    """What hostile programs are pointed at."""

    folder: Path
    sockets: dict[str, socket.socket]

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def aim(self, text: str) -> str:
        """The program with its placeholders filled in."""
        ports = {f"@{name}@": str(self.sockets[name].getsockname()[1]) for name in ("TCP", "UDP")}
        abstract = self.sockets["ABSTRACT"].getsockname()[1:].decode()
        places = {
            "@FILE@": str(self.secret), "@DIR@": str(self.folder / "open"),
            "@UNIX@": str(self.folder / "unix"), "@ABSTRACT@": abstract, "@PID@": str(os.getpid()),
        }  # fmt: skip
        for placeholder, value in (places | ports).items():
            text = text.replace(placeholder, value)
        return text

    def harm(self) -> list[str]:
        """What was reached; nothing, if the sandbox holds."""
        touched, _, _ = select.select(list(self.sockets.values()), [], [], 0)
        found = [name for name, sock in self.sockets.items() if sock in touched]
        if not self.secret.exists() or self.secret.read_text() != "secret":
            found.append("the secret file changed")
        if self.secret.stat().st_mode & 0o777 != 0o644 or self.secret.stat().st_mtime < 2:
            found.append("the secret file's metadata changed")
        if os.listdir(self.folder / "open") != ["kept"]:
            found.append("the open folder changed")
        if os.path.exists("/dev/shm/sandbox-canary"):
            found.append("/dev/shm was written")
        return found


@contextmanager
def canaries() -> Iterator[Canaries]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sandbox-canary-"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o644)
        (folder / "open").mkdir()
        (folder / "open" / "kept").touch()
        (folder / "open").chmod(0o777)
        addresses: dict[str, tuple[int, int, Any]] = {
            "TCP": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "UNIX": (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "unix")),
            "ABSTRACT": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0sandbox-canary-{os.getpid()}"),
        }
        sockets = {}
        for name, (family, kind, address) in addresses.items():
            sock = stack.enter_context(socket.socket(family, kind))
            sock.bind(address)
            if kind == socket.SOCK_STREAM:
                sock.listen()
            sockets[name] = sock
        (folder / "unix").chmod(0o777)
        yield Canaries(folder, sockets)


def verdict_on(box: Sandbox, program: Hostile, targets: Canaries) -> list[str]:
    """Run one program; the ways in which the sandbox failed, empty when it held."""
    report = box.check(targets.aim(program.solution), program.tests, entry_point="f")
    problems = targets.harm()
    if report.status not in program.status.split("|"):
        said = f" ({report.error.type}: {report.error.message})" if report.error else ""
        problems.append(f"status {report.status}, not {program.status}{said}")
    if report.passed or (report.error and report.error.got == "'BREACH'"):
        problems.append("it got through")
    return problems


def attack(allow_unsandboxed: bool = False) -> int:
    """Run them all, print what failed and the count; the exit code."""
    passed = failed = 0
    with Sandbox(slots=1, limits=LIMITS, allow_unsandboxed=allow_unsandboxed) as box, canaries() as targets:
        print(f"level {box.level}: {' '.join(box.layers)}")
        for program in PROGRAMS:
            problems = verdict_on(box, program, targets)
            passed, failed = passed + (not problems), failed + bool(problems)
            if problems:
                print(f"FAILED {program.kind}/{program.name}: {'; '.join(problems)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0

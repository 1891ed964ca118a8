"""The filter program, interpreted by hand for both machines it is written for."""

from __future__ import annotations

import pytest

from sandbox.seccomp import instructions, supported

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def judge(machine: str, number: int, args: tuple[int, ...] = (), arch: int | None = None) -> int:
    """What the kernel would make of a call: a tiny classic BPF interpreter."""
    data = {0: number, 4: ARCH[machine] if arch is None else arch}
    data |= {16 + 8 * n: value & 0xFFFFFFFF for n, value in enumerate((*args, 0, 0, 0, 0, 0, 0)[:6])}
    accumulator, at = 0, 0
    program = instructions(own_pid=42, machine=machine)
    while True:
        code, on_true, on_false, operand = program[at]
        at += 1
        if code == 0x20:
            accumulator = data[operand]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }[code]
            at += on_true if holds else on_false


@pytest.mark.parametrize(
    ("machine", "read", "socket", "execve"), [("x86_64", 0, 41, 59), ("aarch64", 63, 198, 221)]
)
def test_reading_is_allowed_and_sockets_and_programs_are_not(
    machine: str, read: int, socket: int, execve: int
) -> None:
    assert judge(machine, read) == ALLOW
    assert judge(machine, socket, (1, 1, 0)) == EPERM
    assert judge(machine, execve) == EPERM


@pytest.mark.parametrize(("machine", "clone"), [("x86_64", 56), ("aarch64", 220)])
def test_threads_are_allowed_and_processes_are_not(machine: str, clone: int) -> None:
    assert judge(machine, clone, (0x3D0F00,)) == ALLOW
    assert judge(machine, clone, (17,)) == EPERM
    assert judge(machine, clone, (0x3D0F00 | 0x10000000,)) == EPERM
    assert judge(machine, 435) == ENOSYS


@pytest.mark.parametrize(("machine", "pair"), [("x86_64", 53), ("aarch64", 199)])
def test_only_stream_pairs_of_unix_sockets_are_allowed(machine: str, pair: int) -> None:
    assert judge(machine, pair, (1, 1 | 0o2000000)) == ALLOW
    assert judge(machine, pair, (1, 2)) == EPERM
    assert judge(machine, pair, (2, 1)) == EPERM


@pytest.mark.parametrize(("machine", "kill"), [("x86_64", 62), ("aarch64", 129)])
def test_only_oneself_may_be_signalled(machine: str, kill: int) -> None:
    assert judge(machine, kill, (42, 9)) == ALLOW
    assert judge(machine, kill, (41, 9)) == EPERM
    assert judge(machine, kill, (-1, 9)) == EPERM


def test_calls_of_another_architecture_kill() -> None:
    assert judge("x86_64", 0, arch=0x40000003) == KILL
    assert judge("x86_64", 0x40000000 | 1) == KILL


def test_no_table_means_no_filter() -> None:
    assert supported("x86_64")
    assert not supported("riscv64")

"""The system calls a run may make: an allow-list compiled to a BPF program.

Everything not named here fails with EPERM. Thread creation is allowed and process creation is not, a socket
pair is and a socket is not. Knows nothing of processes or policy beyond that; `layers` installs it. Numbers
are for x86_64 and aarch64; on another machine there is no filter and the layer is reported missing.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Iterable

# name:x86_64:aarch64, "-" where the machine has no such call
_ALLOWED = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 lseek:8:62 close:3:57
close_range:436:436 open:2:- openat:257:56 stat:4:- lstat:6:- fstat:5:80 newfstatat:262:79 statx:332:291
access:21:- faccessat:269:48 faccessat2:439:439 readlink:89:- readlinkat:267:78 getcwd:79:17
getdents64:217:61 statfs:137:43 fstatfs:138:44 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59
poll:7:- ppoll:271:73 select:23:- pselect6:270:72 epoll_create1:291:20 epoll_ctl:233:21
epoll_wait:232:- epoll_pwait:281:22 eventfd2:290:19 mmap:9:222 munmap:11:215 mprotect:10:226 mremap:25:216
madvise:28:233 brk:12:214 futex:202:98 set_robust_list:273:99 get_robust_list:274:100 rseq:334:293
membarrier:324:283 set_tid_address:218:96 sched_yield:24:124 sched_getaffinity:204:123 getpid:39:172
gettid:186:178 getppid:110:173 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177
getgroups:115:158 getresuid:118:148 getresgid:120:150 clock_gettime:228:113 clock_getres:229:114
clock_nanosleep:230:115 nanosleep:35:101 gettimeofday:96:169 time:201:- times:100:153 getrusage:98:165
sysinfo:99:179 uname:63:160 getrandom:318:278 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139
rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 setitimer:38:103
getitimer:36:102 alarm:37:- pause:34:- exit:60:93 exit_group:231:94 restart_syscall:219:128 wait4:61:260
waitid:247:95 getrlimit:97:163 sendto:44:206 sendmsg:46:211 recvfrom:45:207 recvmsg:47:212 shutdown:48:210
getsockopt:55:209 getsockname:51:204 getpeername:52:205
"""
# for runs that have a scratch folder
_SCRATCH = """
mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276
truncate:76:45 ftruncate:77:46 fsync:74:82 fdatasync:75:83 flock:73:32 chdir:80:49 fchdir:81:50 utimensat:280:88
"""
_CHECKED = """
clone:56:220 clone3:435:435 socketpair:53:199 ioctl:16:29 fcntl:72:25 prlimit64:302:261 kill:62:129
tgkill:234:131
"""
_COLUMN = {"x86_64": 1, "aarch64": 2}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data; low words, little-endian

_CLONE_THREAD = 0x00010000
_CLONE_NEW_ANY = 0x7E020080  # every namespace flag
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_FIONBIO, _FIONREAD, _FIOCLEX, _FIONCLEX, _TCGETS = 0x5421, 0x541B, 0x5451, 0x5450, 0x5401

Instruction = tuple[int, int, int, int]


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("on_true", ctypes.c_uint8),
        ("on_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def numbers(table: str, machine: str) -> dict[str, int]:
    """System call numbers of this machine, by name."""
    column = _COLUMN[machine]
    rows = (entry.split(":") for entry in table.split())
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def supported(machine: str | None = None) -> bool:
    return (machine or platform.machine()) in _COLUMN


def instructions(own_pid: int, machine: str | None = None, scratch: bool = False) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, operand); a process may signal `own_pid`."""
    machine = machine or platform.machine()
    program = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":  # the x32 calls reach the same kernel code under other numbers
        program += [(_JUMP_GREATER_OR_EQUAL, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]
    for name, number in numbers(_CHECKED, machine).items():
        block = _argument_check(name, own_pid)
        program += [(_JUMP_EQUAL, 0, len(block), number), *block]
    allowed = _ALLOWED + (_SCRATCH if scratch else "")
    return program + _search(_runs(numbers(allowed, machine).values()))


def _runs(allowed: Iterable[int]) -> list[tuple[int, int]]:
    """Where the answer changes: (first number, answer from there on), from 0 upwards."""
    ordered = sorted(allowed)
    firsts = {n for n in ordered if n - 1 not in ordered}
    ends = {n + 1 for n in ordered if n + 1 not in ordered}
    edges = [(n, _ALLOW if n in firsts else _EPERM) for n in sorted(firsts | ends)]
    return edges if edges[0][0] == 0 else [(0, _EPERM), *edges]


def _search(runs: list[tuple[int, int]]) -> list[Instruction]:
    """A binary search: the kernel walks the filter for every call number each time it is installed, so a chain of
    comparisons would cost each run a quarter of a millisecond.
    """
    if len(runs) == 1:
        return [(_RETURN, 0, 0, runs[0][1])]
    middle = len(runs) // 2
    below, above = _search(runs[:middle]), _search(runs[middle:])
    return [(_JUMP_GREATER_OR_EQUAL, len(below), 0, runs[middle][0]), *below, *above]


def _argument_check(name: str, own_pid: int) -> list[Instruction]:
    if name == "clone3":  # its flags are behind a pointer; ENOSYS makes libc fall back to clone
        return [(_RETURN, 0, 0, _ENOSYS)]
    if name == "clone":
        return [
            (_LOAD, 0, 0, _ARGS),
            (_JUMP_ANY_BIT, 2, 0, _CLONE_NEW_ANY),
            (_JUMP_ANY_BIT, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _EPERM),
        ]
    if name == "socketpair":
        return [
            (_LOAD, 0, 0, _ARGS),
            (_JUMP_EQUAL, 0, 4, _AF_UNIX),
            (_LOAD, 0, 0, _ARGS + 8),
            (_AND, 0, 0, _SOCK_TYPE_MASK),
            (_JUMP_EQUAL, 0, 1, _SOCK_STREAM),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _EPERM),
        ]
    if name == "ioctl":
        return _argument_in(1, (_FIONBIO, _FIONREAD, _FIOCLEX, _FIONCLEX, _TCGETS))
    if name == "fcntl":  # F_SETOWN and F_SETSIG would send a signal of choice to any process of the slot
        return _argument_in(1, _FCNTL_COMMANDS)
    return _argument_in(0, (0,) if name == "prlimit64" else (own_pid,))


def _argument_in(position: int, values: tuple[int, ...]) -> list[Instruction]:
    block = [(_LOAD, 0, 0, _ARGS + 8 * position)]
    for value in values:
        block += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*block, (_RETURN, 0, 0, _EPERM)]


class CompiledFilter:
    """A program in memory, ready to be installed by a child that puts its own pid in first."""

    def __init__(self, scratch: bool) -> None:
        placeholder = 0x5A5A5A5A
        table = instructions(placeholder, scratch=scratch)
        self._filters = (_Filter * len(table))(*(_Filter(*row) for row in table))
        self._pid_rows = [
            row
            for row, (code, _, _, operand) in enumerate(table)
            if code == _JUMP_EQUAL and operand == placeholder
        ]
        self._program = Program(len(table), self._filters)
        self.address = ctypes.addressof(self._program)

    def set_own_pid(self, pid: int) -> None:
        for row in self._pid_rows:
            self._filters[row].operand = pid

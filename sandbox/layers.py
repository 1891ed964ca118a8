"""The kernel's means of containment, one function each: namespaces, a private root, Landlock, seccomp,
limits.

Every function really does its layer or raises OSError with the kernel's errno; none falls back. Which layers
are asked for, in which order and what is made of a refusal is `zygote`'s business. Linux only, no privileges
needed where user namespaces are allowed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress

from . import seccomp

with suppress(ImportError, TypeError, AttributeError):  # elsewhere than on Linux, where `Sandbox` says so
    import resource

    _libc = ctypes.CDLL(None, use_errno=True)
    # numbers only: a conversion costs a forked child dear
    _libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

NAMESPACES = {  # in the order they are taken; pid last, since the next fork is the first process of it
    "mount": 0x00020000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "pid": 0x20000000,
}
_NEW_USER = 0x10000000

_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MNT_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID = 0x1, 0x2
_AT_RECURSIVE, _AT_FDCWD = 0x8000, -100

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_LAST_CAPABILITY = 63

# the same number on every machine but these
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _MOUNT_SETATTR = 444, 445, 446, 442

SCRATCH = "/tmp"
_SCRATCH_INODES = 4096
# read, write, list, remove, make plain files and folders, move, truncate: no links, devices, sockets or pipes
_SCRATCH_RIGHTS = sum(1 << bit for bit in (1, 2, 3, 4, 5, 7, 8, 13, 14))
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_FS_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _syscall(number: int, what: str, *args: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *args), what)


def _prctl(option: int, value: int = 0, extra: int = 0) -> None:
    _check(_libc.prctl(option, value, extra, 0, 0), f"prctl {option}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    _check(_libc.mount(*arguments), f"mount {target}")


# --- namespaces ---------------------------------------------------------------------------------------------


def new_namespace(name: str) -> None:
    """One of NAMESPACES for this process (for `pid`: for its children)."""
    _check(_libc.unshare(NAMESPACES[name]), f"unshare {name}")


def new_user_namespace(proc_fd: int) -> None:
    """A user namespace in which this uid and gid are themselves; `proc_fd` is an open /proc.

    Without it the ids would read as the overflow id inside.
    """
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEW_USER), "unshare user")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        fd = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def open_paths(paths: Iterable[str]) -> dict[str, int]:
    """Handles on what is to stay reachable, taken while we may still walk there; what does not exist is left
    out.
    """
    return {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if os.path.exists(path)}


def private_root(paths: dict[str, int], scratch_bytes: int) -> None:
    """Make a read-only tree of the given paths, and nothing else, the root of this mount namespace; with a SCRATCH
    in it where that is to have a size.
    """
    new_root = "/tmp"  # any directory will do: the mount is private and moved at once
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("root", new_root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,nr_inodes=4k,mode=755")
    for path, fd in paths.items():
        _bind(fd, new_root + path)
    os.makedirs(new_root + SCRATCH, exist_ok=True)
    _seal_mounts(new_root, _ATTR_RDONLY | _ATTR_NOSUID)
    if scratch_bytes:
        options = f"size={scratch_bytes},nr_inodes={_SCRATCH_INODES},mode=777"
        _mount("scratch", new_root + SCRATCH, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    os.chdir(new_root)
    _syscall(_PIVOT_ROOT[os.uname().machine], "pivot_root", b".", b".")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def _bind(fd: int, target: str) -> None:
    if stat.S_ISDIR(os.stat(fd).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    _mount(f"/proc/self/fd/{fd}", target, "", _MS_BIND | _MS_REC)


def _seal_mounts(path: str, attributes: int) -> None:
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = ctypes.c_uint(_AT_RECURSIVE)
    _syscall(
        _MOUNT_SETATTR,
        "mount_setattr",
        _AT_FDCWD,
        path.encode(),
        flags,
        request,
        ctypes.c_size_t(len(request)),
    )


# --- identity -----------------------------------------------------------------------------------------------


def become(uid: int) -> None:
    """Give up root for good: this uid and gid, no groups."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _prctl(_PR_SET_DUMPABLE, 1)  # the change of uid gave /proc/self to root, and the uid map is written there


def drop_capabilities() -> None:
    """Empty every capability set, the bounding set where the kernel lets us, and never gain any by exec."""
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # EPERM without CAP_SETPCAP: none to lose
    header = struct.pack("=Ii", 0x20080522, 0)
    _syscall(_CAPSET[os.uname().machine], "capset", header, bytes(24))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends; a change of uid undoes it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_memory() -> None:
    """No ptrace, no core, no /proc/PID/mem for another process of the same uid."""
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


# --- Landlock -----------------------------------------------------------------------------------------------


def landlock(readable: Iterable[int], devices: Iterable[int], scratch: int | None) -> None:
    """From here on: read beneath `readable`, read and write `devices`, make plain files and folders beneath `scratch`,
    no TCP, no signals out; nothing else.

    All are handles from `open_paths`; a rule belongs to the file, wherever it is mounted.
    """
    abi = _syscall(_LANDLOCK_CREATE, "landlock", None, ctypes.c_size_t(0), ctypes.c_uint(1))
    fs_rights = _FS_RIGHTS_BY_ABI[min(abi, 5)]
    net_rights = 0b11 if abi >= 4 else 0
    scopes = 0b11 if abi >= 6 else 0
    attributes = struct.pack("=QQQ", fs_rights, net_rights, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    create = attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)
    ruleset = _syscall(_LANDLOCK_CREATE, "landlock_create_ruleset", *create)
    for fd in readable:
        _landlock_rule(ruleset, fd, _READ_FILE | (_READ_DIR if stat.S_ISDIR(os.stat(fd).st_mode) else 0))
    for fd in devices:
        _landlock_rule(ruleset, fd, _READ_FILE | _WRITE_FILE)
    if scratch is not None:
        _landlock_rule(ruleset, scratch, _SCRATCH_RIGHTS & fs_rights)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _syscall(_LANDLOCK_RESTRICT, "landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0))
    os.close(ruleset)


def _landlock_rule(ruleset: int, fd: int, rights: int) -> None:
    rule = struct.pack("=Qi", rights, fd)
    arguments = ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)
    _syscall(_LANDLOCK_ADD, "landlock_add_rule", *arguments)


# --- seccomp and limits -------------------------------------------------------------------------------------


def install_filter(compiled: seccomp.CompiledFilter) -> None:
    """The allow-list, for this process and its threads, with this process as the only one it may signal.
    Needs no_new_privs, which `drop_capabilities` sets.
    """
    compiled.set_own_pid(os.getpid())
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, compiled.address)


def limit_slot(memory_bytes: int, open_files: int) -> None:
    """Hard resource limits that a slot puts on once and its runs inherit."""
    for which, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(which, (value, value))


def limit_run(cpu_s: int | None, file_bytes: int, threads: int | None) -> None:
    """Hard resource limits of one process; `threads` counts the whole uid, so None where others share it."""
    if cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if threads is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))

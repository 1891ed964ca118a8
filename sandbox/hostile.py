"""Hostile and faulty programs, each with the status it must end with.

Data only, run by `selfcheck` and by the tests, at every level. Each program defines `f`, which should add
one. An *escape* does its deed inside `f` and returns "BREACH" if nothing stopped it, so that only a refusal
ends as `error`. All of them are harmless where they get through: they touch the canaries they are given and
nothing else. Placeholders: @FILE@ a file with a secret, @DIR@ a writable folder, @TCP@ and @UDP@ listening
ports, @UNIX@ and @ABSTRACT@ listening sockets, @PID@ the supervisor.
"""

# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import indent

TESTS = "assert f(1) == 2\nassert f(5) == 6\n"


@dataclass(frozen=True, slots=True)
class Hostile:
    """One program and the tests it faces."""

    name: str
    kind: str
    solution: str
    status: str
    """One status, or several with a bar between where interpreters differ."""
    tests: str = TESTS


def _deed(code: str) -> str:
    return f"def f(x):\n{indent(code.strip(), '    ')}\n    return 'BREACH'\n"


_FILES = {
    "read_passwd": "open('/etc/passwd').read()",
    "read_canary": "open('@FILE@').read()",
    "read_canary_with_os_open": "import os\nos.open('@FILE@', os.O_RDONLY)",
    "open_path_only_then_read": "import os\nos.read(os.open('@FILE@', os.O_PATH), 1)",
    "walk_up_from_the_library": "import os\nopen(os.__file__ + '/../../../../../../../../..' + '@FILE@')",
    "list_root_home": "import os\nos.listdir('/root')",
    "list_tmp": "import os\nif not os.listdir('@DIR@'): raise OSError('empty')",
    "write_a_file": "open('@DIR@/written', 'w').write('x')",
    "create_with_os_open": "import os\nos.open('@DIR@/written', os.O_CREAT | os.O_WRONLY)",
    "append_to_canary": "open('@FILE@', 'a').write('x')",
    "truncate_canary": "import os\nos.truncate('@FILE@', 0)",
    "unlink_canary": "import os\nos.unlink('@FILE@')",
    "rename_canary": "import os\nos.rename('@FILE@', '@FILE@.gone')",
    "chmod_canary": "import os\nos.chmod('@FILE@', 0o777)",
    "utime_canary": "import os\nos.utime('@FILE@', (1, 1))",
    "setxattr_canary": "import os\nos.setxattr('@FILE@', 'user.x', b'1')",
    "make_folder": "import os\nos.mkdir('@DIR@/folder')",
    "make_fifo": "import os\nos.mkfifo('@DIR@/fifo')",
    "make_symlink": "import os\nos.symlink('/etc/passwd', '@DIR@/link')",
    "make_hard_link": "import os\nos.link('@FILE@', '@DIR@/link')",
    "temporary_file": "import tempfile\ntempfile.TemporaryFile(dir='@DIR@')",
    "unnamed_file": "import os\nos.open('@DIR@', os.O_TMPFILE | os.O_RDWR)",
    "sqlite_database": "import sqlite3\nsqlite3.connect('@DIR@/d.db').execute('create table t (x)')",
    "dev_shm": "open('/dev/shm/sandbox-canary', 'w').write('x')",
    "posix_shared_memory": "from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True, size=10)",
    "own_environ_in_proc": "open('/proc/self/environ').read()",
    "environ_of_pid_1": "open('/proc/1/environ').read()",
    "environ_of_the_supervisor": "open('/proc/@PID@/environ', 'rb').read()",
    "memory_of_the_supervisor": "open('/proc/@PID@/mem', 'rb').read(1)",
    "own_memory_in_proc": "open('/proc/self/mem', 'r+b')",
    "descriptors_in_proc": "import os\nos.listdir('/proc/self/fd')",
    "kernel_settings": "open('/proc/sys/kernel/hostname').read()",
    "write_to_the_library": "import json, os\nopen(os.path.dirname(json.__file__) + '/evil.py', 'w').write('x')",
    "terminal": "open('/dev/tty', 'w').write('x')",
    "change_folder": "import os\nos.chdir('@DIR@')",
}

_NETWORK = {
    "tcp_connect": "import socket\nsocket.create_connection(('127.0.0.1', @TCP@), 1)",
    "tcp_listen": "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()",
    "udp_send": "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @UDP@))",
    "unix_connect": "import socket\nsocket.socket(socket.AF_UNIX).connect('@UNIX@')",
    "unix_connect_by_datagram_pair": (
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendto(b'x', '@UNIX@')"
    ),
    "abstract_connect": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0@ABSTRACT@')",
    "pair_connects_elsewhere": "import socket\nsocket.socketpair()[0].connect('@UNIX@')",
    "raw_socket": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "netlink_socket": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "crypto_socket": "import socket\nsocket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "http": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:@TCP@', timeout=1)",
}

_LIBC = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result < 0: raise OSError(ctypes.get_errno(), 'refused')
"""

_PROCESSES = {
    "fork": "import os\nif os.fork() == 0: os._exit(0)",
    "fork_by_libc": _LIBC + "pid = libc.fork()\nif pid == 0: os._exit(0)\nmust(pid)",
    "fork_by_syscall": _LIBC + "pid = libc.syscall(57)\nif pid == 0: os._exit(0)\nmust(pid)",
    "vfork_by_syscall": _LIBC + "pid = libc.syscall(58)\nif pid == 0: os._exit(0)\nmust(pid)",
    "clone3_by_syscall": _LIBC + "must(libc.syscall(435, bytes(88), 88))",
    "clone_with_a_new_user_namespace": _LIBC
    + "must(libc.syscall(56, 0x10000000 | 0x10000 | 17, 0, 0, 0, 0))",
    "shell": "import os\nif os.system('true') != 0: raise OSError('no shell')",
    "subprocess": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)",
    "posix_spawn": "import os\nos.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "exec_of_a_memfd": "import os\nos.execve(os.memfd_create('x'), ['x'], {})",
    "multiprocessing": "import types\nfrom multiprocessing.popen_fork import Popen\nPopen(types.SimpleNamespace(_bootstrap=lambda *a, **k: 0))",
    "pty_fork": "import pty, os\npid, fd = pty.fork()\nif pid == 0: os._exit(0)",
    "daemon_by_setsid": "import os\nos.setsid()\nif os.fork() == 0: os._exit(0)",
    "kill_the_parent": "import os\nos.kill(os.getppid(), 9)",
    "stop_the_parent": "import os\nos.kill(os.getppid(), 19)",
    "kill_the_supervisor": "import os\nos.kill(@PID@, 0)",
    "kill_everything": "import os\nos.kill(-1, 0)",
    "kill_the_group": "import os\nos.killpg(0, 0)",
    "queue_a_signal": _LIBC + "must(libc.sigqueue(os.getppid(), 0, None))",
    "pidfd_of_the_supervisor": "import os\nos.pidfd_open(@PID@)",
    "ptrace_the_parent": _LIBC + "must(libc.ptrace(16, os.getppid(), None, None))",
    "ptrace_me": _LIBC + "must(libc.ptrace(0, 0, None, None))",
    "read_the_parent": _LIBC + "must(libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))",
    "new_user_namespace": _LIBC + "must(libc.unshare(0x10000000))",
    "new_net_namespace": _LIBC + "must(libc.unshare(0x40000000))",
    "mount": _LIBC + "must(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "chroot": "import os\nos.chroot('/')",
    "become_root": "import os\nos.setuid(0)",
    "set_groups": "import os\nos.setgroups([0])",
    "set_hostname": "import socket\nsocket.sethostname('evil')",
    "io_uring": _LIBC + "must(libc.syscall(425, 8, bytes(120)))",
    "bpf": _LIBC + "must(libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, bytes(128), 128))",
    "perf_event": _LIBC
    + "must(libc.syscall(298 if os.uname().machine == 'x86_64' else 241, bytes(128), 0, -1, -1, 0))",
    "userfaultfd": _LIBC + "must(libc.syscall(323 if os.uname().machine == 'x86_64' else 282, 1))",
    "keyring": _LIBC + "must(libc.syscall(250 if os.uname().machine == 'x86_64' else 219, 0, -3, 1))",
    "memfd": "import os\nos.memfd_create('x')",
    "outlive_the_parent": _LIBC + "must(libc.prctl(1, 0, 0, 0, 0))",
    "raise_a_limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "limits_of_another_process": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "raise_priority": "import os\nos.nice(-5)",
    "system_v_shared_memory": _LIBC + "must(libc.shmget(0, 4096, 0o1600))",
    "message_queue": _LIBC + "must(libc.mq_open(b'/q', 0o102, 0o600, None))",
}

_FORGERIES = {
    "equal_to_everything": (
        "class E:\n    def __eq__(s, o): return True\n    def __hash__(s): return 0\ndef f(x): return E()",
        "fail",
    ),
    "int_equal_to_everything": ("class E(int):\n    def __eq__(s, o): return True\ndef f(x): return E(0)", "fail"),
    "str_subclass_lies": (
        "class E(str):\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\ndef f(x): return E('')",
        "fail",
    ),
    "class_property_lies": (
        "class E:\n    __class__ = int\n    def __eq__(s, o): return True\ndef f(x): return E()",
        "fail",
    ),
    "metaclass_lies": (
        "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = None\nclass E(metaclass=M): pass\ndef f(x): return E",
        "fail",
    ),
    "exit_zero": ("import sys\ndef f(x): sys.exit(0)", "exited"),
    "exit_zero_at_import": ("import os\nos._exit(0)", "exited"),
    "exit_zero_hard": ("import os\ndef f(x): os._exit(0)", "exited"),
    "exit_by_atexit": ("import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0", "fail"),
    "exit_in_del": ("class D:\n    def __del__(s):\n        import os; os._exit(0)\ndef f(x): D()", "exited"),
    "exit_in_thread": (
        "import threading, os, time\nthreading.Timer(0.05, os._exit, [0]).start()\ndef f(x):\n    time.sleep(1)",
        "exited",
    ),
    "raise_systemexit_subclass": ("class S(SystemExit): pass\ndef f(x): raise S(0)", "exited"),
    "raise_keyboard_interrupt": ("def f(x): raise KeyboardInterrupt", "error"),
    "raise_base_exception": ("class B(BaseException): pass\ndef f(x): raise B", "error"),
    "raise_assertion_error": ("def f(x): raise AssertionError('ok')", "error"),
    "raise_generator_exit": ("def f(x): raise GeneratorExit", "error"),
    "raise_exception_with_hostile_str": (
        "class B(Exception):\n    def __str__(s): raise SystemExit(0)\ndef f(x): raise B",
        "exited",
    ),
    "patched_builtins": (
        "import builtins\nbuiltins.isinstance = builtins.all = builtins.any = lambda *a: True\n"
        "builtins.AssertionError = ValueError\ndef f(x): return 0",
        "fail",
    ),
    "patched_operator": (
        "import operator, json\noperator.eq = lambda a, b: True\njson.dumps = lambda *a, **k: '{}'\ndef f(x): return 0",
        "fail",
    ),
    "patched_main": ("import sys, __main__\n__main__.f = None\nsys.modules.clear()\ndef f(x): return 0", "fail"),
    "patched_exit": ("import os\nos._exit = lambda code: None\ndef f(x): return 0", "fail"),
    "shadowed_builtins": ("def abs(x): return 0\ndef len(x): return 1\ndef sorted(x): return 2\ndef f(x): return 9", "test_error",
                          "assert abs(f(1) - 2) < 1\nassert len([f(1)] * 2) == 1\n"),
    "shadowed_recorder": ("class R:\n    def __getattr__(s, n): return lambda *a: 0\n__sites__ = R()\ndef f(x): return 0", "fail"),
    "frames": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for v in frame.f_locals.values():\n            if v == 2 and x != 2: return v\n"
        "        frame = frame.f_back\n    return 0",
        "fail", "assert f(1) == 2\nassert f(7) == 8\n",
    ),
    "gc_hunt_for_the_tests": (
        "import gc, re\ndef f(x):\n    for o in gc.get_objects():\n"
        "        for v in (o.values() if type(o) is dict else o if type(o) in (list, tuple) else ()):\n"
        "            if type(v) in (str, bytes):\n"
        "                t = v if type(v) is str else v.decode('latin1')\n"
        "                m = re.search(r'f\\(%d\\) == ' '([0-9]{4})' % x, t)\n"
        "                if m: return int(m[1])\n    return 0",
        "fail", "assert f(1) == 4711\nassert f(5) == 4715\n",
    ),
    "descriptor_hunt_for_the_tests": (
        "import os, re\ndef f(x):\n    for fd in range(3, 64):\n        try: t = os.pread(fd, 99999, 0).decode('latin1')\n"
        "        except OSError: continue\n        m = re.search(r'f\\(%d\\) == ' '([0-9]{4})' % x, t)\n"
        "        if m: return int(m[1])\n    return 0",
        "fail", "assert f(1) == 4711\nassert f(5) == 4715\n",
    ),
    "verdict_on_every_descriptor": (
        "import os, json\nV = json.dumps({'status': 'pass', 'total': 2, 'run': 2, 'outcomes': ['pass', 'pass'], 'error': None})\n"
        "def f(x):\n    for fd in range(1, 64):\n        try: os.pwrite(fd, V.encode(), 0)\n        except OSError: pass\n    return 0",
        "fail",
    ),
    "verdict_on_stdout": ("print('{\"status\": \"pass\"}')\nprint('OK')\ndef f(x): return 0", "fail"),
    "close_everything": ("import os\ndef f(x):\n    os.closerange(0, 64)\n    return x + 1", "exited"),
    "garbage_on_the_channel": (
        "import gc, socket\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, socket.socket): o.sendall(b'\\0\\0\\0\\2{{')\n"
        "    return x + 1",
        "tampered",
    ),
    "huge_message_on_the_channel": (
        "import gc, socket\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, socket.socket): o.sendall(b'\\xff' * 8)\n"
        "    return x + 1",
        "tampered",
    ),
    "unknown_tag_on_the_channel": (
        "import gc, socket\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, socket.socket): o.sendall(b'\\0\\0\\0\\x0e{\"ok\":[\"evil\"]}'[:4] + b'{\"ok\":[\"e\",1]}')\n"
        "    return x + 1",
        "tampered",
    ),
    "answers_in_advance": (
        "import gc, socket\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, socket.socket):\n"
        "            for i in range(9): o.sendall(b'\\0\\0\\0\\x08{\"ok\":2}')\n    return 2",
        "fail",
    ),
    "deeply_nested_reply": (
        "def f(x):\n    t = ()\n    for i in range(100000): t = (t,)\n    return t",
        "error",
    ),
    "stop_iteration_through_all_map": (
        "def f(x): raise StopIteration", "error|test_error", "assert all(map(lambda n: f(n) == n + 1, [1, 2, 3]))\n",
    ),
    "object_contains_everything": (
        "class C:\n    def __contains__(s, x): return True\n    def __len__(s): return 3\ndef f(x): return C()",
        "error|tampered", "assert 3 in f(1)\n",
    ),
    "object_above_everything": (
        "class C:\n    def __gt__(s, o): return True\n    __lt__ = __ge__ = __le__ = __gt__\ndef f(x): return C()",
        "error|tampered", "assert f(1) > 3\n",
    ),
    "object_difference_is_small": (
        "class C:\n    def __sub__(s, o): return s\n    def __abs__(s): return s\n    def __lt__(s, o): return True\ndef f(x): return C()",
        "error|tampered", "assert abs(f(1) - 2) < 1e-9\n",
    ),
    "nothing_to_check": ("def f(x): return []", "no_tests", "for item in f(3):\n    assert item == 1\n"),
    "pickle_bomb": (
        "import os\nclass P:\n    def __reduce__(s): return os._exit, (0,)\ndef f(x): return P()",
        "fail",
    ),
    "poisoned_repr": ("class P:\n    def __repr__(s): raise SystemExit\ndef f(x): return P()", "fail"),
    "odd_names_in_the_module": (
        "globals()[3] = 4\nglobals()['a b'] = 5\nclass S(str): pass\nglobals()[S('__sites__')] = 0\ndef f(x): return 0",
        "fail",
    ),
    "coin_flip": ("import random\ndef f(x): return random.choice([x + 2, x + 3])", "fail"),
    "exec_of_the_check": ("def check(c): pass\nassert True\ndef f(x): return 0", "fail",
                          "def check(candidate):\n    assert candidate(1) == 2\ncheck(f)\n"),
    "trace_function": ("import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 0", "fail"),
    "import_hook": (
        "import sys\nclass H:\n    def find_spec(s, *a): raise SystemExit\nsys.meta_path.insert(0, H())\ndef f(x): return 0", "fail"
    ),
    "nan": ("def f(x): return float('nan')", "fail"),
    "true_for_one": ("def f(x): return 'True'", "fail", "assert f(1) is True\n"),
    "hash_collisions": (
        "def f(x): return {i * (2**61 - 1): 0 for i in range(40000)}" + "\n", "timeout",
    ),
}  # fmt: skip

_RESOURCES = {
    "endless_loop": ("def f(x):\n    while True: pass", "timeout"),
    "endless_loop_at_import": ("while True: pass", "timeout"),
    "long_sleep": ("import time\ndef f(x): time.sleep(60)", "timeout"),
    "loop_that_catches_all": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout",
    ),
    "deadlock": ("import threading\nlock = threading.Lock()\nlock.acquire()\ndef f(x): lock.acquire()", "timeout"),
    "catastrophic_regex": ("import re\ndef f(x): return re.match('(a+)+b', 'a' * 40)", "timeout"),
    "big_power": ("def f(x): return 10 ** (10 ** 9)", "timeout"),
    "memory_at_once": ("def f(x): return bytearray(1 << 40)", "memory"),
    "memory_by_growth": ("def f(x):\n    a = [0]\n    while True: a += a", "memory"),
    "memory_by_mapping": ("import mmap\ndef f(x): return mmap.mmap(-1, 1 << 40) and x", "error"),
    "recursion": ("def f(x): return f(x)", "error"),
    "recursion_without_a_limit": (  # where the stack is guarded apart from the limit, it is an error
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    a = b = ()\n    for i in range(200000): a, b = (a,), (b,)\n    return a == b",
        "crash|error",
    ),
    "segmentation_fault": ("import ctypes\ndef f(x): return ctypes.string_at(0)", "crash"),
    "abort": ("import os\ndef f(x): os.abort()", "crash"),
    "kill_oneself": ("import os\ndef f(x): os.kill(os.getpid(), 9)", "crash"),
    "x32_call": ("import ctypes\ndef f(x): return ctypes.CDLL(None).syscall(0x40000000 | 39)", "crash"),
    "flood_of_output": ("def f(x):\n    while True: print('x' * 1000)", "output_limit"),
    "flood_by_descriptor": ("import os\ndef f(x):\n    while os.write(1, b'x' * 65536): pass", "output_limit"),
    "flood_of_errors": ("import sys\ndef f(x):\n    while True: sys.stderr.write('x' * 65536)", "timeout"),
    "huge_reply": ("def f(x): return 'x' * (1 << 27)", "fail|error|memory|output_limit"),
    "descriptor_bomb": ("import os\ndef f(x):\n    while True: os.pipe()", "error"),
    "pipe_memory_bomb": (
        "import os, fcntl\ndef f(x):\n    while True:\n        r, w = os.pipe()\n        os.set_blocking(w, False)\n        os.write(w, bytes(1 << 16))",
        "error",
    ),
    "thread_bomb": ("import threading, time\ndef f(x):\n    while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "error"),
    "memfd_bomb": ("import os\ndef f(x):\n    while True: os.write(os.memfd_create('m'), bytes(1 << 20))", "error"),
    "inode_bomb": ("def f(x):\n    for i in range(10**5): open(f'@DIR@/{i}', 'w')", "error"),
    "fork_bomb": ("import os\ndef f(x):\n    while True: os.fork()", "error"),
    "fork_bomb_that_ignores_errors": ("import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except OSError: pass", "timeout"),
    "sparse_output": ("import os\ndef f(x): os.ftruncate(1, 1 << 40)", "error"),
    "missing_package": ("import not_installed_anywhere\ndef f(x): return x + 1", "error"),
    "reading_input": ("def f(x): return int(input())", "error"),
    "syntax_error": ("def f(x) return x", "error"),
    "null_byte": ("def f(x): return '\0'", "error"),
    "deeply_nested_source": ("x = " + "(" * 5000 + ")" * 5000, "error"),
    "lone_surrogate_in_source": ("x = '\ud800'\ndef f(x): return x + 1", "error"),
    "thread_left_running": ("import threading\ndef g():\n    while True: pass\nthreading.Thread(target=g).start()\ndef f(x): return 0", "fail"),
}  # fmt: skip


def programs() -> Iterator[Hostile]:
    """All of them; the escapes must be refused, so that their tests end in the refusal's exception."""
    for kind, deeds in (("files", _FILES), ("network", _NETWORK), ("processes", _PROCESSES)):
        for name, code in deeds.items():
            yield Hostile(name, kind, _deed(code), "error")
    for kind, entries in (("forgery", _FORGERIES), ("resources", _RESOURCES)):
        for name, (solution, status, *tests) in entries.items():
            yield Hostile(name, kind, solution, status, *tests)

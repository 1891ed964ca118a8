"""The clerk of a slot: reads the test texts, keeps what it made of them, and judges alone where no test code runs.

Most tests are asserts on calls with literals. Nothing in them needs a process of its own: the clerk asks the
solution and compares data with data, for one run after the other. All other tests it only takes apart, for the
judge that the zygote then forks. It executes no statement of anybody but the asserts that `split.Plan.plain`
vouches for, and is replaced after any run that was not an ordinary one. Started by `zygote`, jailed like its runs.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import time
from collections import OrderedDict
from typing import NoReturn

from . import judge, sealed, split
from .wire import words_of

REQUEST = struct.Struct("=Bd")  # what is wanted, deadline on the monotonic clock
REPLY = struct.Struct("=Bd")  # what became of it, CPU seconds
JUDGE, SEAL = range(2)
DONE, NEEDS_JUDGE, DONE_AND_LEAVING, GONE = range(4)
FDS = 3  # tests, verdict, and the solution's socket, which SEAL does without

_BYTES_KEPT = 1 << 22  # of test texts; what is made of one weighs some ten times as much
_MOST_RECEIVED = 1 << 24
"""Bytes of one solution, after which there may be garbage that the next one should not pay for."""


def serve(control: socket.socket) -> NoReturn:
    """Until the zygote closes the socket."""
    plans = _Plans()
    while True:
        data, fds, _, _ = socket.recv_fds(control, REQUEST.size, FDS)
        if not data:
            os._exit(0)
        started = time.process_time()
        wanted, deadline = REQUEST.unpack(data)
        if wanted == SEAL:
            became = _seal(*fds)
        else:
            became = _judge(plans, deadline, *fds)
        for fd in fds:
            os.close(fd)
        control.send(REPLY.pack(became, time.process_time() - started))


class _Plans(OrderedDict[bytes, split.Plan]):
    """Of the texts seen last."""

    def keep(self, tests: bytes, plan: split.Plan) -> None:
        self[tests] = plan
        self.move_to_end(tests)
        while sum(map(len, self)) > _BYTES_KEPT:
            self.popitem(last=False)


def _seal(tests: int, verdict: int) -> int:
    """Divide the tests for a run in the solution's own process."""
    request = judge.Request.read(tests)
    try:
        text = request.tests.decode("utf-8", "surrogatepass")
        halves = sealed.seal(text, judge.head_of(request.entry_point)).halves(request.entry_point)
    except judge.UNPLANNABLE as problem:  # Unsealable too; and what parses cannot always be written out again
        judge.write(verdict, {"unsealable": words_of(problem)[: judge.MAX_TEXT]})
    else:
        judge.write(verdict, {"halves": [half.hex() for half in halves]})
    return DONE


def _planned(tests: bytes) -> split.Plan:
    """Without the collector, which would look at all that is being built again and again."""
    gc.disable()
    try:
        return split.plan(tests.decode("utf-8", "surrogatepass"))
    finally:
        gc.enable()


def _judge(plans: _Plans, deadline: float, tests: int, verdict: int, sock: int) -> int:
    request = judge.Request.read(tests)
    try:
        plan = plans.get(request.tests) or _planned(request.tests)
        dumped = plan.dump() if plan.plain is None else b""
    except judge.UNPLANNABLE as problem:
        if isinstance(problem, MemoryError) and plans:
            os._exit(70)  # it may be the memory of others that is missing: a fresh clerk shall try
        judge.write(verdict, judge.broken("test_error", problem))
        return DONE_AND_LEAVING
    plans.keep(request.tests, plan)
    if plan.plain is None:
        request.append(tests, dumped)
        return NEEDS_JUDGE
    with socket.socket(fileno=os.dup(sock)) as channel:
        found, received = judge.judge(channel, plan, request, deadline)
    judge.write(verdict, found)
    if found.get("status") == "gone":
        return GONE
    ordinary = found.get("status") in ("pass", "fail", "error", "no_tests") and received <= _MOST_RECEIVED
    return DONE if ordinary else DONE_AND_LEAVING

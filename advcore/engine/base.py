"""What every engine is: one worker thread with a queue; model and tokenizer are touched by that thread alone.

A backend says how to load a model and how to run what waits. An engine does not retry, cache or count money: that is
the client's job (`advcore.ask`).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from advcore import TeacherError
from advcore.chat import Message

MAX_SEQUENCES = 32  # in one batch; beyond it two CPU cores gain nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to draw a reply; `temperature` 0 is greedy. `seed` makes a draw repeatable whatever batch it shares, but for
    what rounding makes of a batch of another shape."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """`finish_reason` is `stop` or `length`; token counts are the engine's own."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class PromptRefused(TeacherError):
    """The model's template or tokenizer does not take these messages; it would refuse them again."""


@dataclass(frozen=True, slots=True)
class Job:
    messages: list[Message]
    sampling: Sampling
    result: Future[Reply]


class Engine:
    """The worker thread and its queue; a backend says how to load and how to run what is waiting."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._taken: list[Job] = []  # of the queue, and not answered yet
        self._loaded: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._loaded.result()

    async def generate(self, messages: list[Message], sampling: Sampling) -> Reply:
        """One reply. Raises PromptRefused, and TeacherError when the backend fails."""
        job = Job(messages, sampling, Future())
        self._jobs.put(job)
        return await asyncio.wrap_future(job.result)

    def close(self) -> None:
        """Finish what is running and end the worker."""
        self._jobs.put(None)
        self._thread.join()

    def _load(self) -> None:
        raise NotImplementedError

    def _run(self, jobs: list[Job]) -> None:
        """Answer `jobs`, and whatever joins them meanwhile."""
        raise NotImplementedError

    def _work(self) -> None:
        try:
            with _loading:
                self._load()
        except BaseException as error:  # handed to the caller of the constructor, who raises it
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(None)
        while (first := self._jobs.get()) is not None:
            with self._failing(self._taken):
                self._run(self._take([first, *self._waiting()]))

    def _take(self, jobs: list[Job]) -> list[Job]:
        """Those of `jobs` that nobody has cancelled; from now on nobody can."""
        taken = [job for job in jobs if job.result.set_running_or_notify_cancel()]
        self._taken[:] = [*(job for job in self._taken if not job.result.done()), *taken]
        return taken

    def _waiting(self) -> list[Job]:
        """All jobs that wait now; an end mark among them goes back to the queue."""
        jobs: list[Job] = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _encode(self, messages: list[Message]) -> list[int]:
        raise NotImplementedError

    def _encoded(self, jobs: Iterable[Job]) -> list[tuple[Job, list[int]]]:
        """The jobs with their ids; one that the template or the tokenizer refuses fails alone."""
        encoded: list[tuple[Job, list[int]]] = []
        for job in jobs:
            with self._failing([job], PromptRefused):
                encoded.append((job, self._encode(job.messages)))
        return encoded

    @contextmanager
    def _failing(self, jobs: list[Job], kind: type[TeacherError] = TeacherError) -> Iterator[None]:
        """Whatever the block raises fails those of `jobs` that have no answer yet."""
        try:
            yield
        # The one broad except: backends raise what they like, and whatever it is, a request that this thread has taken
        # must end and the thread go on, or its callers wait for ever.
        except Exception as error:
            self._fail(jobs, str(error) or type(error).__name__, kind)

    def _fail(self, jobs: list[Job], reason: str, kind: type[TeacherError] = TeacherError) -> None:
        for job in jobs:
            if not job.result.done():
                job.result.set_exception(kind(f"local inference failed: {reason}"))

    def _answer(self, job: Job, reply: Reply) -> None:
        if not job.result.done():
            job.result.set_result(reply)


# Loading swaps this process's stdout and torch's default dtype for a while: one model at a time.
_loading = threading.Lock()

"""GGUF files on openvino-genai's continuous batching."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from advcore import chat
from advcore.chat import Message
from advcore.engine.base import MAX_SEQUENCES, Engine, Job, Reply, Sampling

KV_CACHE_GB = 2  # 32 sequences of 2,000 tokens of the 1.5B teacher


class OpenVinoEngine(Engine):
    """Continuous batching of a GGUF file: a request joins the running batch at the next token."""

    def __init__(self, gguf: Path) -> None:
        self.gguf = gguf
        super().__init__()

    def _load(self) -> None:
        # Without this module openvino takes its own stub: nothing is sent, and nothing is written to the home folder.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino_genai as genai

        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = KV_CACHE_GB
        scheduler.max_num_seqs = MAX_SEQUENCES
        scheduler.enable_prefix_caching = True  # the k solutions of one exercise share their prompt
        with _quiet_stdout():
            self._pipe = genai.ContinuousBatchingPipeline(str(self.gguf), scheduler, "CPU")
        self._tokenizer = self._pipe.get_tokenizer()
        vocabulary = [token.decode(errors="replace") for token in self._tokenizer.get_vocab()]
        self._control = [token for token in vocabulary if re.fullmatch(r"<\|?[\w/]+\|?>", token)]
        self._genai = genai
        self._running = genai.py_openvino_genai.GenerationStatus.RUNNING
        self._next_id = 0

    def _run(self, jobs: list[Job]) -> None:
        running: list[tuple[Job, Any, int]] = []
        waiting: list[tuple[Job, list[int]]] = []
        leaders: dict[tuple[int, ...], Any] = {}
        while jobs or waiting or running:
            waiting += self._encoded(jobs)
            running, waiting = self._start(running, waiting, leaders)
            with _stepping:
                self._pipe.step()
            running = [entry for entry in running if not self._finish(*entry)]
            jobs = self._take(self._waiting())

    def _start(
        self,
        running: list[tuple[Job, Any, int]],
        waiting: list[tuple[Job, list[int]]],
        leaders: dict[tuple[int, ...], Any],
    ) -> tuple[list[tuple[Job, Any, int]], list[tuple[Job, list[int]]]]:
        """Hand over what waits, but hold back a prompt that another request is just being read for.

        Samples of one prompt would each read it anew if they began together; once the first has been read, the others
        find it in the prefix cache. Reading costs about a third of writing, so this is worth the short wait.
        """
        held: list[tuple[Job, list[int]]] = []
        for job, ids in waiting:
            leader = leaders.get(tuple(ids))
            if leader is not None and not leader.can_read() and leader.get_status() == self._running:
                held.append((job, ids))
                continue
            handle = self._add(ids, job.sampling)
            leaders.setdefault(tuple(ids), handle)
            running = [*running, (job, handle, len(ids))]
        return running, held

    def _add(self, ids: list[int], sampling: Sampling) -> Any:
        import numpy
        import openvino

        self._next_id += 1
        tensor = openvino.Tensor(numpy.array([ids], dtype=numpy.int64))
        return self._pipe.add_request(self._next_id, tensor, self._options(sampling))

    def _encode(self, messages: list[Message]) -> list[int]:
        def render(rendered: list[Message]) -> str:
            return str(self._tokenizer.apply_chat_template(rendered, add_generation_prompt=True))

        def ids(text: str) -> list[int]:
            tensor = self._tokenizer.encode(text, add_special_tokens=False).input_ids
            return [int(token) for token in tensor.data[0]]

        return chat.encode_with(render, ids, self._control, messages)

    def _options(self, sampling: Sampling) -> Any:
        options = self._pipe.get_config()
        options.max_new_tokens = sampling.max_tokens
        options.do_sample = sampling.temperature > 0
        if options.do_sample:
            options.temperature, options.top_p = sampling.temperature, sampling.top_p
            options.rng_seed = sampling.seed
        return options

    def _finish(self, job: Job, handle: Any, prompt_tokens: int) -> bool:
        if handle.get_status() == self._running:
            return False
        outputs = handle.read_all()
        if not outputs:
            self._fail([job], f"the engine ended a request with {handle.get_status().name}")
            return True
        ids = list(outputs[0].generated_ids)
        stopped = outputs[0].finish_reason == self._genai.GenerationFinishReason.STOP
        text = self._tokenizer.decode(ids)
        self._answer(job, Reply(text, prompt_tokens, len(ids), "stop" if stopped else "length"))
        return True


class _quiet_stdout:
    """openvino-genai prints its loading steps to stdout, which belongs to data: send them to stderr."""

    def __enter__(self) -> None:
        sys.stdout.flush()
        self._saved = os.dup(1)
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 1)
        os.close(self._saved)


# Two engines stepping at once fight over the same cores and both come to a crawl; taking turns costs neither anything.
_stepping = threading.Lock()

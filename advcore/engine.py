"""Batched local inference: messages in, reply out; concurrent calls share batches.

Two backends behind one face. GGUF files of the manifest run on openvino-genai's continuous batching; Hugging Face
folders and LoRA adapter folders run on transformers, a batch at a time. Each engine owns one worker thread, and model
and tokenizer are touched by that thread alone. advgen reaches this page through LiteLLM (`local/<name>`), advtrain
calls it to evaluate. It does not retry, cache or count money: that is the teacher's job.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import random
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from advcore import ConfigError, TeacherError, chat, weights
from advcore.chat import Message
from advcore.settings import nearest

Backend = Literal["auto", "openvino", "transformers"]

MAX_SEQUENCES = 32  # in one batch; beyond it two CPU cores gain nothing
KV_CACHE_GB = 2  # 32 sequences of 2,000 tokens of the 1.5B teacher


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


@dataclass(frozen=True, slots=True)
class _Job:
    messages: list[Message]
    sampling: Sampling
    result: Future[Reply]


def open_engine(model: str, backend: Backend = "auto") -> Engine:
    """The engine for an embedded name, a Hugging Face model folder or a LoRA adapter folder; one per process and model.

    Raises ConfigError: unknown name, a folder that holds no model, a backend that cannot run it.
    """
    key = (model, backend)
    if key in _engines:  # without a lock: one model's download must not hold up another that is loaded
        return _engines[key]
    with _lock:
        opening = _opening.setdefault(key, threading.Lock())
    with opening:
        if key not in _engines:
            _engines[key] = _open(model, backend)
        return _engines[key]


def embedded() -> list[str]:
    """The names of the embedded models (the manifest holds other files too)."""
    return [name for name, entry in weights.manifest().items() if entry.file.endswith(".gguf")]


def check_model(model: str, backend: Backend = "auto") -> None:
    """Raise ConfigError, naming the nearest, unless `model` is an embedded model or a folder that holds one, and
    `backend` runs it.
    """
    if model in embedded():
        return
    _folder(model)
    if backend == "openvino":
        raise ConfigError(f"openvino runs the embedded models only ({', '.join(embedded())}), not {model}")


def identity(model: str) -> str:
    """Content hash of a local model's weights: a retrained adapter at the same path is another model.

    Raises ConfigError for an unknown name and for a folder without weights.
    """
    if model in embedded():
        return weights.manifest()[model].sha256
    folder = _folder(model)
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    if (folder / "adapter_config.json").exists():
        base = adapter_base(folder)
        digest.update((identity(base) if base in embedded() or Path(base).is_dir() else base).encode())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weights of a model or adapter folder: safetensors, else PyTorch's own form. ConfigError when neither."""
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not found:
        raise ConfigError(f"{folder} holds no weights (*.safetensors or *.bin)")
    return found


def adapter_base(folder: Path) -> str:
    """What the adapter in `folder` stands on: an embedded name, a folder or a Hub id.

    An adapter trained on an embedded model names the Hub id of its weights, so that others can load it; here that id
    means the embedded copy again. Raises ConfigError when `adapter_config.json` is malformed.
    """
    file = folder / "adapter_config.json"
    try:
        base = str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{file} is no PEFT adapter config that names its base model") from None
    return next((name for name in embedded() if weights.manifest()[name].base_model == base), base)


def base_name(model: str) -> str:
    """By what an adapter on `model` names its base: `adapter_base` undone."""
    return weights.manifest()[model].base_model if model in embedded() else model


def precision() -> tuple[Any, str]:
    """The torch dtype in which a dense model is held on this machine, and why."""
    import torch

    if torch.cuda.is_available():
        return torch.bfloat16, "GPU"
    able = torch.cpu.get_capabilities()
    if able.get("amx_bf16") or able.get("avx512_bf16"):
        return torch.bfloat16, "CPU with bf16 instructions"
    return torch.float32, "CPU without bf16 instructions"


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turns what transformers and PEFT raise for files that they cannot use into a ConfigError that names `model`."""
    from safetensors import SafetensorError

    try:
        yield
    except ConfigError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"cannot load model {model}: {reason}") from None


def _folder(model: str) -> Path:
    folder = Path(model)
    if not folder.is_dir():
        raise ConfigError(
            f"no local model {model}{nearest(model, embedded())}, or the path of a model folder"
        )
    if not ((folder / "config.json").exists() or (folder / "adapter_config.json").exists()):
        raise ConfigError(f"{model} holds neither a model (config.json) nor an adapter (adapter_config.json)")
    return folder


def _open(model: str, backend: Backend) -> Engine:
    check_model(model, backend)
    if model in embedded() and backend != "transformers":
        return OpenVinoEngine(weights.runnable(model))
    return TransformersEngine(weights.dense(model) if model in embedded() else _folder(model))


class Engine:
    """The worker thread and its queue; a backend says how to load and how to run what is waiting."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._taken: list[_Job] = []  # of the queue, and not answered yet
        self._loaded: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._loaded.result()

    async def generate(self, messages: list[Message], sampling: Sampling) -> Reply:
        """One reply. Raises TeacherError when the backend fails."""
        job = _Job(messages, sampling, Future())
        self._jobs.put(job)
        return await asyncio.wrap_future(job.result)

    def close(self) -> None:
        """Finish what is running and end the worker."""
        self._jobs.put(None)
        self._thread.join()

    def _load(self) -> None:
        raise NotImplementedError

    def _run(self, jobs: list[_Job]) -> None:
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

    def _take(self, jobs: list[_Job]) -> list[_Job]:
        """Those of `jobs` that nobody has cancelled; from now on nobody can."""
        taken = [job for job in jobs if job.result.set_running_or_notify_cancel()]
        self._taken[:] = [*(job for job in self._taken if not job.result.done()), *taken]
        return taken

    def _waiting(self) -> list[_Job]:
        """All jobs that wait now; an end mark among them goes back to the queue."""
        jobs: list[_Job] = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _encode(self, messages: list[Message]) -> list[int]:
        raise NotImplementedError

    def _encoded(self, jobs: Iterable[_Job]) -> list[tuple[_Job, list[int]]]:
        """The jobs with their ids; one that the template or the tokenizer refuses fails alone."""
        encoded: list[tuple[_Job, list[int]]] = []
        for job in jobs:
            with self._failing([job]):
                encoded.append((job, self._encode(job.messages)))
        return encoded

    @contextmanager
    def _failing(self, jobs: list[_Job]) -> Iterator[None]:
        """Whatever the block raises fails those of `jobs` that have no answer yet."""
        try:
            yield
        # The one broad except: backends raise what they like, and whatever it is, a request that this thread has taken
        # must end and the thread go on, or its callers wait for ever.
        except Exception as error:
            self._fail(jobs, str(error) or type(error).__name__)

    def _fail(self, jobs: list[_Job], reason: str) -> None:
        for job in jobs:
            if not job.result.done():
                job.result.set_exception(TeacherError(f"local inference failed: {reason}"))

    def _answer(self, job: _Job, reply: Reply) -> None:
        if not job.result.done():
            job.result.set_result(reply)


class OpenVinoEngine(Engine):
    """Continuous batching of a GGUF file: a request joins the running batch at the next token."""

    def __init__(self, gguf: Path) -> None:
        self.gguf = gguf
        super().__init__()

    def _load(self) -> None:
        # Without this module openvino takes its own stub: nothing is sent, and nothing is written to the home folder.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino_genai as genai
        except ImportError:
            raise ConfigError("local models need openvino-genai: pip install 'advdistill[local]'") from None
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

    def _run(self, jobs: list[_Job]) -> None:
        running: list[tuple[_Job, Any, int]] = []
        waiting: list[tuple[_Job, list[int]]] = []
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
        running: list[tuple[_Job, Any, int]],
        waiting: list[tuple[_Job, list[int]]],
        leaders: dict[tuple[int, ...], Any],
    ) -> tuple[list[tuple[_Job, Any, int]], list[tuple[_Job, list[int]]]]:
        """Hand over what waits, but hold back a prompt that another request is just being read for.

        Samples of one prompt would each read it anew if they began together; once the first has been read, the others
        find it in the prefix cache. Reading costs about a third of writing, so this is worth the short wait.
        """
        held: list[tuple[_Job, list[int]]] = []
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

    def _finish(self, job: _Job, handle: Any, prompt_tokens: int) -> bool:
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


class TransformersEngine(Engine):
    """Static batches of a Hugging Face folder, or of an adapter folder on its base, unmerged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__()

    def _load(self) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise ConfigError("model folders need transformers: pip install 'advdistill[local]'") from None
        base = self.folder
        # An adapter is asked as it was trained, without thoughts; another model as its template has it.
        self._is_adapter = (self.folder / "adapter_config.json").exists()
        if self._is_adapter:
            name = adapter_base(self.folder)
            base = weights.dense(name) if name in embedded() else Path(name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with loading(str(self.folder)):
            self._tokenizer = AutoTokenizer.from_pretrained(base)
            self._model = AutoModelForCausalLM.from_pretrained(base, dtype=precision()[0]).to(device).eval()
            if base != self.folder:
                from peft import PeftModel

                self._model = PeftModel.from_pretrained(self._model, str(self.folder)).eval()
        self._torch = torch

    def _run(self, jobs: list[_Job]) -> None:
        groups: dict[tuple[float, float, int], list[tuple[_Job, list[int]]]] = {}
        for job, ids in self._encoded(jobs):
            sampling = job.sampling
            groups.setdefault((sampling.temperature, sampling.top_p, sampling.max_tokens), []).append(
                (job, ids)
            )
        for group in groups.values():
            group.sort(key=lambda pair: len(pair[1]))  # alike lengths pad little
            for start in range(0, len(group), MAX_SEQUENCES):
                self._batch(group[start : start + MAX_SEQUENCES])

    def _encode(self, messages: list[Message]) -> list[int]:
        if self._is_adapter:
            return chat.prompt_ids(self._tokenizer, messages)
        return chat.encode(self._tokenizer, messages, add_generation_prompt=True)

    def _batch(self, encoded: list[tuple[_Job, list[int]]]) -> None:
        torch, sampling = self._torch, encoded[0][0].sampling
        width = max(len(ids) for _, ids in encoded)
        eos, pad = sorted(chat.stop_ids(self._model, self._tokenizer)), self._tokenizer.pad_token_id
        if pad is None:  # as Llama 3 has it; the mask hides padding, so that any id will do
            pad = next(iter(eos), 0)
        rows = [[pad] * (width - len(ids)) + ids for _, ids in encoded]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for _, ids in encoded]
        draw = self._draw(sampling, [job.sampling.seed for job, _ in encoded])
        device = self._model.device
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=torch.tensor(rows, device=device), attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=sampling.max_tokens, pad_token_id=pad, eos_token_id=eos or None,
                do_sample=False, logits_processor=draw,
            )  # fmt: skip
        for (job, ids), new in zip(encoded, output[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(new) if token in eos), None)
            text = self._tokenizer.decode(new[:end], skip_special_tokens=True)
            count = len(new) if end is None else end + 1
            self._answer(job, Reply(text, len(ids), count, "length" if end is None else "stop"))

    def _draw(self, sampling: Sampling, seeds: list[int]) -> list[Any]:
        """The logits processors that draw each row's token by its own seed; none for greedy replies."""
        if not sampling.temperature > 0:
            return []
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        nucleus = [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
        return [TemperatureLogitsWarper(sampling.temperature), *nucleus, _Draw(seeds)]


class _Draw:
    """A token a row, drawn with random numbers of the row's own: all logits but its own become -inf.

    `generate` itself draws from one stream for a whole batch, so that a reply would depend on what it shares it with.
    """

    def __init__(self, seeds: list[int]) -> None:
        self._chances = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: Any, logits_BV: Any) -> Any:
        import torch

        drawn = [[chance.random()] for chance in self._chances]
        below_BV = logits_BV.float().softmax(-1).cumsum(-1)
        points_B1 = torch.tensor(drawn, device=logits_BV.device) * below_BV[:, -1:]
        tokens_B1 = torch.searchsorted(below_BV, points_B1)
        return torch.full_like(logits_BV, -torch.inf).scatter_(1, tokens_B1, 0.0)


class _quiet_stdout:
    """openvino-genai prints its loading steps to stdout, which belongs to data: send them to stderr."""

    def __enter__(self) -> None:
        sys.stdout.flush()
        self._saved = os.dup(1)
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 1)
        os.close(self._saved)


_engines: dict[tuple[str, Backend], Engine] = {}
_opening: dict[tuple[str, Backend], threading.Lock] = {}
_lock = threading.Lock()
# Loading swaps this process's stdout and torch's default dtype for a while: one model at a time.
_loading = threading.Lock()
# Two engines stepping at once fight over the same cores and both come to a crawl; taking turns costs neither anything.
_stepping = threading.Lock()

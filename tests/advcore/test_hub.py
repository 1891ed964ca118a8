"""Push and pull through the official client against a Hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from advcore import ConfigError, DataError, hub
from advcore.testing import FakeHub
from advtrain import publish


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    # The client read its folders at import: without this the user's own cache and token would take part.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", running.token)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dataset"
    (made / "dpo").mkdir(parents=True)
    (made / "README.md").write_text("# A dataset\n")
    (made / "dpo" / "round-0000.parquet").write_bytes(b"PAR1 zero")
    return made


def files_of(snapshot: Path) -> set[str]:
    return {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}


def test_a_pushed_folder_comes_back_byte_for_byte(server: FakeHub, folder: Path) -> None:
    url = hub.push(folder, "tester/rounds", private=False, tag="round-0", message="Round 0")
    commit = server.repos["dataset", "tester/rounds"].commits[-1]
    assert url == f"{server.url}/datasets/tester/rounds/commit/{commit.oid}"
    assert commit.message == "Round 0"
    snapshot = hub.pull("tester/rounds")
    assert files_of(snapshot) == {"README.md", "dpo/round-0000.parquet"}
    assert (snapshot / "dpo" / "round-0000.parquet").read_bytes() == b"PAR1 zero"


def test_a_second_push_adds_files_and_each_tag_keeps_its_round(server: FakeHub, folder: Path) -> None:
    hub.push(folder, "tester/rounds", private=False, tag="round-0")
    (folder / "dpo" / "round-0000.parquet").unlink()
    (folder / "dpo" / "round-0001.parquet").write_bytes(b"PAR1 one")
    hub.push(folder, "tester/rounds", private=False, tag="round-1")
    both = {"README.md", "dpo/round-0000.parquet", "dpo/round-0001.parquet"}
    assert files_of(hub.pull("tester/rounds@round-1")) == both
    assert files_of(hub.pull("tester/rounds@round-0")) == both - {"dpo/round-0001.parquet"}
    assert len(server.repos["dataset", "tester/rounds"].commits) == 3  # the empty one and one a push


def test_pushing_a_round_again_moves_its_tag(server: FakeHub, folder: Path) -> None:
    hub.push(folder, "tester/rounds", private=False, tag="round-0")
    (folder / "README.md").write_text("# Better words\n")
    hub.push(folder, "tester/rounds", private=False, tag="round-0")
    assert (hub.pull("tester/rounds@round-0") / "README.md").read_text() == "# Better words\n"


def test_a_model_repository_is_pushed_and_pulled_as_one(server: FakeHub, folder: Path) -> None:
    hub.push(folder, "tester/student", private=False, tag=None, repo_type="model")
    assert ("model", "tester/student") in server.repos
    assert "README.md" in files_of(hub.pull("tester/student", repo_type="model"))
    with pytest.raises(DataError, match="no such repository"):
        hub.pull("tester/student")


def test_a_missing_revision_or_repository_is_named_in_one_line(server: FakeHub) -> None:
    server.add_repo("tester/rounds", {"README.md": b"#"})
    with pytest.raises(DataError, match="tester/rounds@round-9: the repository has no revision round-9"):
        hub.pull("tester/rounds@round-9")
    with pytest.raises(DataError, match="tester/nowhere: the Hub shows no such repository") as caught:
        hub.pull("tester/nowhere")
    assert "\n" not in str(caught.value)


def test_a_private_push_is_private_and_unreadable_without_a_token(
    server: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(folder, "tester/secret", private=True, tag=None)
    assert server.repos["dataset", "tester/secret"].private
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(DataError, match=r"no such repository.*HF_TOKEN"):
        hub.pull("tester/secret")
    monkeypatch.setenv("HF_TOKEN", server.read_token)
    assert "README.md" in files_of(hub.pull("tester/secret"))


def test_a_private_push_never_lands_in_a_public_repository(server: FakeHub, folder: Path) -> None:
    repo = server.add_repo("tester/open", {"README.md": b"#"})
    with pytest.raises(ConfigError, match="public"):
        hub.push(folder, "tester/open", private=True, tag=None)
    assert set(repo.commits[-1].files) == {"README.md"}


def test_pushing_without_a_token_names_the_variable(
    server: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        hub.push(folder, "tester/rounds", private=False, tag=None)
    assert not server.repos


@pytest.mark.parametrize("token", ["hf_fakereadtoken", "hf_nobodyknowsthisone"])
def test_a_refused_token_is_named_by_its_variable_and_never_shown(
    server: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    for repo in ("tester/new", "tester/there"):
        server.add_repo("tester/there", {"README.md": b"#"})
        with pytest.raises(ConfigError, match="HF_TOKEN") as caught:
            hub.push(folder, repo, private=False, tag=None)
        assert token not in str(caught.value)
    assert set(server.repos) == {("dataset", "tester/there")}


def test_an_unreachable_hub_is_one_line_of_data_error(
    server: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"^pushing to tester/rounds: ") as caught:
        hub.push(folder, "tester/rounds", private=False, tag=None)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_not_pushed(server: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to push"):
        hub.push(tmp_path / "missing", "tester/rounds", private=False, tag=None)
    assert not server.repos


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """What a finished dpo run on round 0 leaves, as far as its margins go."""
    run = tmp_path / "trained"
    (run / "margins").mkdir(parents=True)
    (run / "margins" / "round-0000.parquet").write_bytes(b"PAR1 margins")
    (run / "manifest.json").write_text(json.dumps({"margins": {"count": 1}, "dataset": {"round": 0}}))
    return run


def test_margins_land_beside_the_dataset_under_a_tag_of_their_own(
    server: FakeHub, folder: Path, trained: Path
) -> None:
    hub.push(folder, "tester/rounds", private=True, tag="round-0")
    publish.push_margins(trained, "tester/rounds")
    publish.push_margins(trained, "tester/rounds")  # again, as after a cut connection
    repo, dataset = server.repos["dataset", "tester/rounds"], {"README.md", "dpo/round-0000.parquet"}
    assert set(repo.at("round-0").files) == dataset
    assert set(repo.at("round-0-margins").files) == dataset | {"margins/round-0000.parquet"}
    assert repo.private


def test_margins_that_come_after_a_later_round_are_refused(
    server: FakeHub, folder: Path, trained: Path
) -> None:
    (folder / "dpo" / "round-0001.parquet").write_bytes(b"PAR1 one")
    hub.push(folder, "tester/rounds", private=False, tag="round-1")
    with pytest.raises(DataError, match=r"holds round-0001 already.*of round 0 .*--margins"):
        publish.push_margins(trained, "tester/rounds")
    assert set(server.repos["dataset", "tester/rounds"].tags) == {"round-1"}


def test_margins_make_no_repository(server: FakeHub, trained: Path) -> None:
    with pytest.raises(DataError, match="no such repository"):
        publish.push_margins(trained, "tester/mistyped")
    assert not server.repos


def test_resolve_prefers_a_local_folder_and_refuses_what_is_neither(
    server: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_repo("tester/rounds", {"README.md": b"# from the Hub\n"})
    monkeypatch.chdir(folder.parent)
    (folder.parent / "tester" / "local").mkdir(parents=True)
    assert hub.resolve("tester/local") == Path("tester/local")
    assert (hub.resolve("tester/rounds") / "README.md").read_bytes() == b"# from the Hub\n"
    with pytest.raises(DataError, match="neither a folder nor a Hub id"):
        hub.resolve("no/such/folder")


@pytest.mark.parametrize("text", ["user/name", "user/name@round-0", "my-org/a.b_c@refs/pr/1"])
def test_hub_ids_are_recognised(text: str) -> None:
    assert hub.is_hub_id(text)


@pytest.mark.parametrize(
    "text", ["name", "/user/name", "./user/name", "a/b/c", "user/name@", "user/na me", ""]
)
def test_other_words_are_not_hub_ids(text: str) -> None:
    assert not hub.is_hub_id(text)


_LOAD = """
import sys
from pathlib import Path
import pyarrow, pyarrow.parquet
from advcore import hub
folder = Path(sys.argv[1])
(folder / "dpo").mkdir(parents=True)
(folder / "README.md").write_text(
    "---\\nconfigs:\\n- config_name: dpo\\n  data_files: dpo/*.parquet\\n"
    "- config_name: sft\\n  data_files: sft/*.parquet\\n---\\n"
)
for number, ids in enumerate((["a", "b"], ["c"])):
    table = pyarrow.table({"exercise_id": ids})
    pyarrow.parquet.write_table(table, folder / "dpo" / f"round-{number:04d}.parquet")
    hub.push(folder, "tester/rounds", private=True, tag=f"round-{number}")
from datasets import load_dataset
for revision in ("main", "round-0"):
    print(*load_dataset("tester/rounds", "dpo", split="train", revision=revision)["exercise_id"])
"""


def test_datasets_loads_a_config_of_any_round_from_the_large_file_store(tmp_path: Path) -> None:
    with FakeHub(lfs=True) as server:
        settings = {
            "HF_ENDPOINT": server.url, "HF_TOKEN": server.token, "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, str(tmp_path / "folder")],
            env={**os.environ, **settings}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        commit = server.repos["dataset", "tester/rounds"].at("round-1")
    assert done.stdout.split("\n")[:2] == ["a b c", "a b"], done.stderr
    assert {path for path, file in commit.files.items() if file.lfs} == {
        "dpo/round-0000.parquet", "dpo/round-0001.parquet",
    }  # fmt: skip

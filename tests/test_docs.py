"""The code of README and docs: Python is run, commands are run or said not to be."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from advcore.settings import shipped
from advcore.testing import FakeHub, tiny_model
from advcore.testing.servers import MockServer
from advgen.testing import ScriptedStudent, scripted
from sandbox import Sandbox

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKS = '{"first": 7, "second": 5}'
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands(page):
    """The lines of its shell blocks."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


def teacher(messages, seed):
    """The scripted teacher, who also answers chat and judges it."""
    text = messages[-1]["content"]
    return (
        scripted(messages, seed) if "def " in text or "subtopics" in text or "statements" in text else MARKS
    )


def student(respond):
    return lambda messages, seed: (
        respond(messages, seed) if "def " in messages[-1]["content"] else "A container."
    )


@pytest.fixture(scope="module")
def served():
    """The addresses that the pages name, and where they are in the test."""
    with MockServer(teacher) as first, MockServer(student(ScriptedStudent())) as second:
        yield {"http://localhost:8000/v1": first.api_base, "http://localhost:8001/v1": second.api_base}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("student") / "tiny")


def replaced(text, names):
    for old, new in names.items():
        text = text.replace(old, str(new))
    return text


def test_the_page_on_python_runs_from_top_to_bottom(served, tiny, tmp_path):
    (tmp_path / "dpo.toml").write_text(f'method = "dpo"\ndataset = "-"\nmodel = "{tiny}"\n')
    # A scripted student has no p_true worth a threshold, and a smaller build is as good for this.
    small = {
        "Qwen/Qwen2.5-Coder-0.5B-Instruct": tiny, "count=4, solutions=4": "count=2, solutions=2, calls=7",
        "count=6),": "count=4), curation=ad.CurationConfig(min_p_wrong=0.0, min_p_true=0.0),",
    }  # fmt: skip
    source = "\n".join(blocks(ROOT / "docs" / "python.md", "python"))
    script = tmp_path / "page.py"
    script.write_text(replaced(source, served | small))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 exercises kept" in done.stdout
    assert done.stdout.splitlines()[-1] == "pass"


def test_the_pair_of_the_readme_is_what_it_is_called():
    statement, programs, *_ = blocks(ROOT / "README.md", "python")
    chosen, rejected, test = re.split(r"^# (?:rejected|the test .*)$", programs, flags=re.MULTILINE)
    with Sandbox(slots=1) as box:
        assert [box.check(program, test).status for program in (chosen, rejected)] == ["pass", "fail"]
    task = shipped("data/tasks/parcels_left.toml").read_text()
    assert test.strip().removeprefix("assert ") in task
    assert statement.splitlines()[0] in task


@pytest.mark.soak
def test_the_python_of_the_readme_runs(served, tiny, tmp_path):
    (tmp_path / "quickstart.toml").write_text(build_config(served))
    source = blocks(ROOT / "README.md", "python")[-1].replace('model="student"', f'model="{tiny}"')
    # the scripted teacher knows its own exercises, and not the shipped tasks
    done = run_python(source.replace(', tasks="shipped"', ""), tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ True (True|False)\n", done.stdout)


def test_the_python_of_the_sandboxs_page_gives_what_it_says(tmp_path):
    (source,) = blocks(ROOT / "docs" / "sandbox.md", "python")
    shown = re.sub(r"^( *)([^#\n]+?)  # (.+)$", r"\1assert (\2) == (\3), (\2)", source, flags=re.MULTILINE)
    assert shown.count("assert (") == 2
    done = run_python(shown, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_place_left_to_fill(page):
    assert not re.findall(r"\b(?:TODO|TBD|FIXME|[A-Z]+_(?:TIME|SUMMARY))\b", page.read_text())


def test_the_extras_of_the_readme_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name_of = re.compile(r"[\w-]+")
    for line in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE):
        brought = {name_of.match(each)[0] for each in project["optional-dependencies"].pop(line[0])}
        named = set(re.split(r", |\s", line[1])) & {
            "litellm",
            "openai",
            "anthropic",
            "datasets",
            "aiohttp",
            "torch",
        }
        assert named <= brought, line
    assert set(project["optional-dependencies"]) == {"dev"}


def run_python(source, folder):
    (folder / "script.py").write_text(source)
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True)


def build_config(served):
    first, second = served.values()
    return (
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{first}"\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{second}"\n'
        "[exercises]\ncount = 2\nsolutions = 2\ncalls = 7\n[attempts]\ncount = 4\n"
        "[curation]\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n"
    )


# --- commands -------------------------------------------------------------------------------------------------------

OURS = ("advgen", "advtrain", "advdistill")
INLINE = re.compile(r"`((?:advgen|advtrain|advdistill) [^`]+)`")


def command_of(words):
    """The command that a line names, and the words behind it."""
    command = typer.main.get_command(importlib.import_module(f"{words[0]}.cli").app)
    rest = list(words[1:])
    while rest and getattr(command, "commands", {}).get(rest[0]):
        command = command.commands[rest.pop(0)]
    return command, rest


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_that_there_is(page):
    lines = [shlex.split(line, comments=True) for line in commands(page)]
    for words in (line for line in lines if line[0] in OURS):
        command, rest = command_of(words)
        assert not hasattr(command, "commands"), words
        command.make_context(words[0], rest).close()  # raises for an option or argument that it does not know
    for words in map(str.split, INLINE.findall(page.read_text())):
        command, rest = command_of(words)
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, (page.name, words)


ELSEWHERE = {
    "pip install": "tests/test_package.py installs the wheel",
    "python quickstart.py": "the same as make quickstart",
    "make ": "run by hand and by CI",
    "advgen models fetch": "tests/advcore/engine fetches them",
}


@pytest.mark.soak
def test_every_command_of_the_pages_runs_but_for_those_that_need_a_key_or_a_gpu(served, tiny, tmp_path):
    for name in ("prompts.jsonl", "vicuna.jsonl"):
        (tmp_path / name).write_text(
            "".join(f'{{"prompt": "What is {at} times {at}?"}}\n' for at in range(60))
        )
    (tmp_path / "functions.py").write_text(
        'def double(n: int) -> int:\n    """Twice n."""\n    return 2 * n\n'
    )
    (tmp_path / "texts.jsonl").write_text('{"column": "Add up numbers."}\n')
    smaller = {
        "--limit 41": "--limit 1", "--rounds 3": "--rounds 2 --evaluate 0",
        "run gad_small.toml": "run gad_small.toml --set discriminator.warmup_steps=1",
    }  # fmt: skip
    ran = set()
    with FakeHub() as hub:
        env = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub.token,
            "HF_HOME": str(tmp_path / "hf"),
            "OMP_NUM_THREADS": "1",
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for page in (ROOT / "docs" / "guide.md", *PAGES):
            for line in commands(page):
                if re.search(r"# needs a (key|GPU)", line) or any(
                    line.startswith(each) for each in ELSEWHERE
                ):
                    continue
                command = replaced(line.partition("  #")[0], served | smaller | {"user/name": "tester/name"})
                command = command.strip()
                if command in ran:
                    continue
                ran.add(command)
                # the scripted teacher knows its own exercises alone
                dry = " --dry-run" if "--seeds" in line or "--tasks" in line else ""
                done = subprocess.run(
                    ["bash", "-c", command + dry], cwd=tmp_path, capture_output=True, text=True,
                    env={**os.environ, **env, "PATH": path},
                )  # fmt: skip
                assert done.returncode == 0, f"{page.name}: {command}\n{done.stderr}\n{done.stdout}"
                if line.startswith("advdistill recipes"):
                    shrink(tmp_path, served, tiny)
    assert len(ran) > 20


def shrink(folder, served, tiny):
    """Copied recipes, on scripted models and a tiny student."""
    (folder / "quickstart.toml").write_text(build_config(served))
    for file in folder.glob("*.toml"):
        text = re.sub(r'^model = "student.*"', f'model = "{tiny}"', file.read_text(), flags=re.MULTILINE)
        file.write_text(text)

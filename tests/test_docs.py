"""The code of README and docs: Python is run, commands are run or said not to be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from advcore.testing import tiny_model
from advcore.testing.servers import MockServer
from advgen.testing import ScriptedStudent, scripted

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKS = '{"first": 7, "second": 5}'
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


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

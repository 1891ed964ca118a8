"""The wheel by itself in a fresh environment, and the two commands a person meets first."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel_env(tmp_path_factory):
    """A new environment that holds the wheel and its base dependencies only."""
    folder = tmp_path_factory.mktemp("wheel")
    # Copied first: building leaves files, and must not see what a checkout has lying about.
    source = folder / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__", ".*_cache")
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(source)], check=True)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    install = ["install", "-q", "-c", str(ROOT / "constraints.txt"), str(next(folder.glob("*.whl")))]
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *install], check=True)
    return folder / "env" / "bin"


def run(command, cwd, **env):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **env})


def test_the_wheel_alone_brings_packages_templates_and_data(wheel_env, tmp_path):
    code = (
        "import advgen.prompts as p, advcore.settings as s, advcore.engine.weights as w, advtrain, sandbox, advcore\n"
        "assert 'site-packages' in advcore.__file__\n"
        "assert 'def f' in p.render('solve', signature='def f()', docstring='', given='')\n"
        "assert s.shipped('data/topics.toml').is_file()\n"
        "assert {'teacher', 'student', 'student-small'} <= set(w.manifest())\n"
    )
    done = run([wheel_env / "python", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("advgen build c.toml --out r", "gen"),
        ("advgen answer p.jsonl --model openai/x --api-base http://127.0.0.1:1/v1 --out a", "gen"),
        ("advgen answer p.jsonl --model local/teacher --out b", "local"),
        ("advgen answer p.jsonl --model gpt-4o-mini --out c", "gen"),
        ("advgen audit p.jsonl --no-execute", "gen"),
        ("advgen verify d", "gen"),
        ("advtrain run t.toml --out t", "train"),
        ("advtrain eval student", "local"),
        ("advdistill rounds c.toml t.toml --out l --evaluate 0", "gen"),
    ],
)
def test_commands_say_which_extra_they_lack(wheel_env, tmp_path, command, extra):
    (tmp_path / "c.toml").write_text('[teacher]\nmodel = "openai/x"\n[student]\nmodel = "openai/x"\n')
    (tmp_path / "p.jsonl").write_text('{"prompt": "x", "chosen": "y", "rejected": "z"}\n')
    (tmp_path / "t.toml").write_text('method = "dpo"\ndataset = "p.jsonl"\nmodel = "student"\n')
    (tmp_path / "d" / "dpo").mkdir(parents=True)
    (tmp_path / "d" / "dpo" / "round-0000.parquet").touch()
    name, *arguments = command.split()
    home = {"ADVDISTILL_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": "none"}
    done = run([wheel_env / name, *arguments], tmp_path, **home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"pip install 'advdistill[{extra}]'" in done.stderr
    assert not (tmp_path / "home").exists()  # nothing was fetched first


def test_the_wheel_alone_is_a_python_api_with_recipes(wheel_env, tmp_path):
    code = (
        "import advdistill as ad\nprint(ad.__version__)\n"
        "try:\n    ad.answer(['x'], 'local/teacher', 'a')\nexcept ad.MissingExtra as error:\n    print(error)\n"
    )
    done = run([wheel_env / "python", "-c", code], tmp_path, ADVDISTILL_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    version, missing = done.stdout.splitlines()
    assert "pip install 'advdistill[local]'" in missing
    for name in ("advgen", "advtrain", "advdistill"):
        assert run([wheel_env / name, "--version"], tmp_path).stdout.strip() == version
    copied = run([wheel_env / "advdistill", "recipes", "quickstart"], tmp_path)
    assert copied.stdout.split() == ["quickstart.py", "quickstart.toml", "quickstart_dpo.toml"]
    shown = run([wheel_env / "python", "-m", "pip", "show", "--verbose", "advdistill"], tmp_path)
    assert "Homepage" in shown.stdout


def test_the_wheel_lists_models_and_finds_the_sandbox(wheel_env, tmp_path):
    listed = run(
        [wheel_env / "advgen", "models", "list"],
        tmp_path,
        ADVDISTILL_HOME=str(tmp_path / "home"),
        COLUMNS="120",
    )
    assert listed.returncode == 0, listed.stderr
    assert "student-small" in listed.stdout
    assert run([wheel_env / "python", "-m", "sandbox", "doctor"], tmp_path).returncode == 0


def test_the_container_file_installs_what_there_is():
    lines = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert [word for word, _ in steps] == ["FROM", "COPY", "RUN", "WORKDIR", "ENV", "CMD"]
    said = dict(steps)
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", said["FROM"]).groups()))
    assert version >= (3, 11)
    source, target = said["COPY"].split()
    assert (ROOT / source).is_dir()
    install = shlex.split(said["RUN"])
    assert install[:2] == ["pip", "install"]
    assert install[install.index("-c") + 1] == f"{target}/constraints.txt"
    assert f"{target}[all]" in install
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs"} <= set(ignored)

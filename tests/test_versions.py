"""The ends of the version ranges in pyproject.toml: the numbers hold on the oldest and on the newest libraries.

The libraries are laid over the environment, so that torch and the rest stay as they are.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parent.parent
LIBRARIES = ("trl", "transformers", "peft", "accelerate", "datasets", "huggingface_hub")
# What the oldest need in an older version than the environment's.
COMPANIONS = ("tokenizers==0.22.2", "dill==0.4.0", "multiprocess==0.70.18", "fsspec==2026.2.0")
TRAIN = [f"tests/advtrain/{name}" for name in ("test_hooks.py", "test_run.py", "forward", "loop", "methods")]
HUB = ["tests/advcore/test_hub.py"]


def ranges():
    """`name>=oldest,<beyond` of each library, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    return [each for each in found if re.split("[>=<]", each)[0] in LIBRARIES]


def oldest():
    return [re.sub(r">=([^,]+).*", r"==\1", each) for each in ranges()] + list(COMPANIONS)


@pytest.mark.parametrize(
    ("end", "wanted"), [("oldest", oldest()), ("newest", ranges())], ids=["oldest", "newest"]
)
@pytest.mark.parametrize("tests", [TRAIN, HUB], ids=["train", "hub"])
def test_the_numbers_hold_at_both_ends_of_the_version_ranges(tests, end, wanted, tmp_path_factory):
    overlay = tmp_path_factory.getbasetemp() / end
    if not overlay.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(overlay)]
        subprocess.run([*pip, *wanted], check=True)
    environment = os.environ | {"PYTHONPATH": f"{overlay}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not soak", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]

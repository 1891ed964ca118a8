"""What the sandbox says of a machine, and that it refuses to pretend."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox
from sandbox import Sandbox, SandboxUnavailable, probe
from sandbox.box import explain, level_of

ROOT = Path(sandbox.__file__).parent.parent
ALL = ("user", "mount", "pid", "net", "ipc", "uts", "landlock", "seccomp", "rlimits")


def test_levels_are_named_by_what_is_on() -> None:
    assert level_of(ALL) == "L3"
    assert level_of(set(ALL) - {"user"}) == "L3"
    assert level_of(set(ALL) - {"mount"}) == "L2"
    assert level_of(("landlock", "seccomp", "rlimits")) == "L2"
    assert level_of(("seccomp", "rlimits")) == "L1"
    assert level_of(("rlimits",)) == "L0"


def test_less_than_l2_is_refused_with_the_layer_and_the_cures() -> None:
    with pytest.raises(SandboxUnavailable) as refusal:
        Sandbox(without=("landlock",))
    assert "landlock: left out on request" in str(refusal.value)
    assert "--allow-unsandboxed" in str(refusal.value)


def test_less_than_l2_can_be_accepted_and_every_report_says_so() -> None:
    with Sandbox(slots=1, without=("landlock",), allow_unsandboxed=True) as box:
        report = box.check("def f(): return 1", "assert f() == 1")
    assert report.passed
    assert report.level == box.level == "L1"
    assert "landlock" not in report.layers


def test_an_unknown_layer_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no such layer: landslide"):
        Sandbox(without=("landslide",))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[Errno 28] No space left on device: 'unshare user'", "max_user_namespaces"),
        ("[Errno 13] Permission denied: 'self/uid_map'", "AppArmor"),
        ("[Errno 1] Operation not permitted: 'unshare user'", "seccomp profile"),
        ("[Errno 38] Function not implemented: 'landlock'", "kernel"),
    ],
)
def test_the_known_refusals_are_explained(text: str, cause: str) -> None:
    assert cause in explain("user", text)


def test_a_probe_agrees_with_a_sandbox() -> None:
    found = probe()
    with Sandbox(slots=1, allow_unsandboxed=True) as box:
        assert (found.level, found.layers) == (box.level, box.layers)


def test_doctor_prints_every_layer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "doctor"], cwd=ROOT, capture_output=True, text=True
    )
    assert all(layer in done.stdout for layer in (*ALL, "level"))


def test_run_prints_one_report_per_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text("def f(): return list({'a', 'b', 'c', 'd'})[0]")
    (tmp_path / "tests.py").write_text("assert f() in 'abcd'")
    command = [
        sys.executable,
        "-m",
        "sandbox",
        "run",
        str(tmp_path / "solution.py"),
        str(tmp_path / "tests.py"),
    ]
    done = subprocess.run([*command, "--hash-seeds", "0", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count('"status": "pass"') == 2


def test_the_import_is_light() -> None:
    code = "import sys; before = set(sys.modules); import sandbox; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    outside = {name.split(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names - {"sandbox"}
    assert outside == set()
    assert not {"asyncio", "unittest", "multiprocessing"} & set(done.stdout.split())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try another user")
def test_a_run_as_root_is_not_root_inside() -> None:
    with Sandbox(slots=1) as box:
        (output,) = box.call("import os\ndef f(): return os.getresuid() + tuple(os.getgroups())", "f", [()])
    assert output.value
    assert 0 not in output.value


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_gets_a_level_that_is_accepted(tmp_path: Path) -> None:
    python = "/usr/bin/python3"  # the one running this may be in a folder of root's
    if (
        not os.path.exists(python)
        or subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode
    ):
        pytest.skip(f"{python} is not Python 3.11 or newer")
    copied = Path("/tmp") / f"sandbox-copy-{os.getpid()}"
    shutil.copytree(ROOT / "sandbox", copied / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        code = (
            "from sandbox import Sandbox\nwith Sandbox(slots=1) as box:\n"
            "    print(box.level, box.check('import csv\\ndef f(): return 1', 'assert f() == 1').status)"
        )
        done = subprocess.run([python, "-B", "-c", code], cwd=copied, user=65534, group=65534, extra_groups=[],
                              env={"PYTHONPATH": str(copied)}, capture_output=True, text=True)  # fmt: skip
    finally:
        shutil.rmtree(copied)
    assert done.stdout.split()[1:] == ["pass"], done.stderr
    assert done.stdout.split()[0] in ("L2", "L3")


@pytest.mark.skipif(os.getuid() != 0, reason="only the slots of root have uids of their own")
def test_slots_of_many_sandboxes_do_not_share_the_uid_that_their_threads_are_counted_by() -> None:
    with contextlib.ExitStack() as stack:
        boxes = [stack.enter_context(Sandbox(2, without=ALL[:6])) for _ in range(3)]
        uids = [slot._uid for box in boxes for slot in box._slots]
        assert len(set(uids)) == 6
        program = (
            "import threading\ndef f():\n    threads = [threading.Thread(target=print) for _ in range(20)]\n"
        )
        program += "    for thread in threads:\n        thread.start()\n    return len(threads)"
        assert [box.check(program, "assert f() == 20").status for box in boxes] == ["pass"] * 3

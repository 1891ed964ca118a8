"""A call in a process of its own: its result, its errors, its death, and Ctrl-C for the parent alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advcore import AdvdistillError, DataError
from advcore.processes import apart


class Demanding(Exception):
    def __init__(self, message, *, response):
        super().__init__(message)
        self.response = response


def fail(kind):
    raise DataError("the row is bad") if kind == "data" else Demanding("it said no", response=1)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_call_has_a_process_of_its_own_and_its_errors_come_home():
    assert apart(os.getpid) != os.getpid()
    with pytest.raises(DataError, match="the row is bad"):
        apart(fail, "data")
    with pytest.raises(AdvdistillError, match="Demanding: it said no"):
        apart(fail, "other")
    with pytest.raises(AdvdistillError, match="the process of die died"):
        apart(die)


def test_ctrl_c_for_the_parent_alone_reaches_the_call_and_a_killed_parent_ends_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom advcore.processes import apart\n"
        "def wait(file):\n    import os, time\n    Path(file).write_text(str(os.getpid()))\n    time.sleep(60)\n"
        "if __name__ == '__main__':\n    apart(wait, sys.argv[1])\n"
    )
    for number in (signal.SIGINT, signal.SIGKILL):
        file = tmp_path / f"pid-{number}"
        parent = subprocess.Popen([sys.executable, script, file], stderr=subprocess.PIPE, text=True)
        until(lambda file=file: file.exists() and file.read_text())
        child = int(file.read_text())
        parent.send_signal(number)
        _, said = parent.communicate(timeout=30)
        assert number == signal.SIGKILL or "KeyboardInterrupt" in said
        until(lambda child=child: not Path(f"/proc/{child}").exists() or "Z" in state(child))


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def until(condition, within_s=30):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)

"""Where errors end: one line for what a person, a disk or a model did, a traceback for faults of ours."""

import sqlite3

import pytest
import typer

from advcore import AdvdistillError, ConfigError, DataError, TeacherError, cli
from sandbox import SandboxUnavailable


class OurOwn(AdvdistillError):
    exit_code = 3


def ending(error):
    app = typer.Typer()

    @app.command()
    def command():
        raise error

    return lambda: cli.run(app, [])


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConfigError("give another --out"), 2, "error: give another --out"),
        (DataError("no rows"), 2, "error: no rows"),
        (TeacherError("no credit left"), 1, "error: no credit left"),
        (OurOwn("a new kind"), 3, "error: a new kind"),
        (SandboxUnavailable("no Landlock"), 1, "error: no Landlock"),
        (OSError(28, "No space left on device", "/runs/a"), 1, "error: No space left on device: /runs/a"),
        (sqlite3.OperationalError("disk I/O error"), 1, "error: disk I/O error; what was committed is safe"),
    ],
)
def test_what_others_did_is_one_line(error, code, says, capsys):
    assert ending(error)() == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(says)


@pytest.mark.parametrize("error", [RuntimeError("ours"), ValueError("ours"), KeyError("ours")])
def test_a_fault_of_ours_keeps_its_traceback(error):
    with pytest.raises(type(error), match="ours"):
        ending(error)()

"""Where the errors of every command line end: one line on stderr and an exit code.

0 done, 1 failed, 2 something to correct, 130 stopped. A traceback is a fault of ours.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from advcore import AdvdistillError, ConfigError, extras


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        print(metadata.version("advdistill"))
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
]


def run(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run the command line over `argv`, by default the process's own, and return the exit code."""
    try:
        app(args=None if argv is None else list(argv))
    except SystemExit as end:  # Typer's own end, also of --help and of wrong usage
        if end.code == 130:
            say("stopped; run the same command again to resume")
        return int(end.code or 0)
    except sqlite3.Error as error:  # the journal's disk
        return _failed(f"{error}; what was committed is safe, run the same command again to go on")
    except BrokenPipeError:  # whoever read our output has enough
        return 1
    except (AdvdistillError, RuntimeError) as error:  # `SandboxUnavailable` is no child of ours
        if (code := getattr(error, "exit_code", None)) is None:
            raise
        return _failed(str(error), code)
    except ImportError as error:
        if not (reason := extras.explained(error)):
            raise
        return _failed(reason, ConfigError.exit_code)
    except OSError as error:  # a disk that is full, a folder that cannot be made
        reason = error.strerror or str(error).partition("\n")[0] or type(error).__name__
        return _failed(reason + (f": {error.filename}" if error.filename else ""))
    return 0


def say(line: str) -> None:
    """Print a line of talk: data alone goes to stdout."""
    print(line, file=sys.stderr, flush=True)


def _failed(reason: str, code: int = 1) -> int:
    say(f"error: {reason}")
    return code

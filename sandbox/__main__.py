"""`python -m sandbox`: doctor, run and selfcheck for a person at a terminal. Decides nothing itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .box import LAYERS, Sandbox, explain, probe
from .report import Limits, SandboxUnavailable


def doctor() -> int:
    found = probe()
    for layer in LAYERS:
        print(f"{layer:10} {'on' if layer in found.layers else 'MISSING'}")
    print(f"{'level':10} {found.level}")
    for layer, text in found.refused.items():
        print(explain(layer, text), file=sys.stderr)
    return 0 if found.level >= "L2" else 1


def run(arguments: argparse.Namespace) -> int:
    solution, tests = (Path(path).read_text() for path in (arguments.solution, arguments.tests))
    limits = Limits(wall_s=arguments.wall_s, memory_bytes=arguments.memory_mb << 20)
    passed = True
    for seed in arguments.hash_seeds:
        allow = arguments.allow_unsandboxed
        with Sandbox(slots=1, limits=limits, hash_seed=seed, allow_unsandboxed=allow) as box:
            report = box.check(solution, tests, entry_point=arguments.entry_point)
        print(json.dumps({"hash_seed": seed} | report.to_json()))
        passed &= report.passed
    return 0 if passed else 1


def selfcheck(arguments: argparse.Namespace) -> int:
    from .selfcheck import attack  # a page of hostile programs nobody else needs in memory

    return attack(allow_unsandboxed=arguments.allow_unsandboxed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Run untrusted Python, contained.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="which layers of containment this machine offers")
    once = commands.add_parser(
        "run", help="one solution file against one test file; a JSON report per hash seed"
    )
    once.add_argument("solution")
    once.add_argument("tests")
    once.add_argument("--entry-point", help="the name that check(candidate) is called with")
    once.add_argument("--wall-s", type=float, default=4.0)
    once.add_argument("--memory-mb", type=int, default=1024)
    once.add_argument("--hash-seeds", type=int, nargs="+", default=[0], help="run once under each of these")
    once.add_argument("--allow-unsandboxed", action="store_true")
    attacks = commands.add_parser("selfcheck", help="attack the sandbox on this machine")
    attacks.add_argument("--allow-unsandboxed", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all is well, 1 it is not, 2 usage."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "doctor":
            return doctor()
        return run(arguments) if arguments.command == "run" else selfcheck(arguments)
    except SandboxUnavailable as problem:
        print(problem, file=sys.stderr)
        return 1
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
    ) as problem:  # a file that is not there, limits that are too small
        print(f"error: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

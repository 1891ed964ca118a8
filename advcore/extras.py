"""Why an import failed, as one line that says what to do: an extra that is not installed, or a foreign module of the
name of one of ours.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path

from advcore import ConfigError

OURS = ("advdistill", "advgen", "advtrain", "advcore", "sandbox")
_COMES_WITH = {"pyarrow": "datasets", "numpy": "datasets", "safetensors": "transformers"}
_REQUIREMENT = re.compile(r"""([\w.-]+).*;.*\bextra\s*==\s*['"](\w+)['"]""")
_COLLECTIVE = ("all", "dev")


class MissingExtra(ConfigError, ImportError):
    """A library that an extra of the distribution brings is not installed."""


def need(module: str, what: str) -> None:
    """Raise MissingExtra unless `module`, which `what` needs, is installed; before anything is fetched or asked."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(f"{what}: {_not_installed(module)}")


def explained(error: ImportError) -> str:
    """What to do about a failed import; '' where the cause is neither of the two."""
    name = (error.name or "").partition(".")[0]
    if name in OURS:
        return _in_the_way(name)
    if not extras_of(name):
        return ""
    if importlib.util.find_spec(name) is None:
        return _not_installed(name)
    return f"{name} is installed in a version that does not fit ({error}): pip install --upgrade 'advdistill[all]'"


def extras_of(module: str) -> list[str]:
    """The extras that bring a module, by the distribution's metadata."""
    wanted = _COMES_WITH.get(module, module).replace("_", "-").lower()
    try:
        requirements = metadata.requires("advdistill") or []
    except metadata.PackageNotFoundError:  # a source tree on the path, nothing installed
        return ["all"]
    found = (match.groups() for each in requirements if (match := _REQUIREMENT.match(each)))
    extras = [extra for name, extra in found if name.lower() == wanted and extra not in _COLLECTIVE]
    return list(dict.fromkeys(extras))


def _not_installed(module: str) -> str:
    commands = " or ".join(f"pip install 'advdistill[{extra}]'" for extra in extras_of(module))
    return f"{module} is not installed: {commands}"


def _in_the_way(name: str) -> str:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
    if not file or Path(file).is_relative_to(Path(__file__).parents[1] / name):
        return ""
    return f"{file} stands in the way of advdistill's package {name}: rename it, or start from another folder"

"""Raises ImportError where a foreign module has the name of one of our packages and would be imported in its place."""

from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]

for _name in ("advcore", "advgen", "advtrain", "sandbox"):
    _spec = find_spec(_name)
    if _spec and _spec.origin and not Path(_spec.origin).resolve().is_relative_to(_ROOT / _name):
        raise ImportError(
            f"{_spec.origin} stands in the way of advdistill's package {_name}: "
            "rename it, or start from another folder"
        )

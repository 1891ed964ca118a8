"""TOML file -> frozen dataclass, with `--set a.b=c` on top; and where the files shipped with the package are.

A config class is a frozen, keyword-only dataclass whose fields are scalars, tuples of scalars, `dict`s or further
config classes. Anything a person gets wrong raises `ConfigError` with one line that says what to do. Nothing here knows
what the fields mean.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from advcore import ConfigError

T = TypeVar("T")


def shipped(path: str) -> Path:
    """`prompts/...` or `data/...` as shipped: inside the installed wheel first, in the checkout second."""
    inside = Path(__file__).parent / "shipped" / path
    return inside if inside.exists() else Path(__file__).parent.parent / path


def load(cls: type[T], path: Path | str, overrides: Iterable[str] = ()) -> T:
    """Read the TOML file `path` into `cls`; each override is `section.key=value` with a TOML value or a bare word.

    Raises ConfigError: missing or malformed file, unknown key (naming the nearest), value of the wrong type.
    """
    file = Path(path)
    if file.is_dir():
        raise ConfigError(f"config file {file} is a folder")
    if not file.is_file():
        raise ConfigError(f"config file {file} does not exist")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    return build(cls, overridden(values, overrides))


def overridden(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with each `section.key=value` put in."""
    for override in overrides:
        _apply(values, override)
    return values


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A `cls` from nested mappings; `where` is the dotted path so far, for messages. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown key {where}{key}{nearest(key, fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{where}{name} is required")
    try:
        return cls(**{key: _convert(hints[key], value, where + key) for key, value in values.items()})
    except ConfigError:
        raise
    except (
        ValueError
    ) as error:  # a config class checks its own ranges in __post_init__, and begins with the key
        raise ConfigError(f"{where}{error}") from None


def at_least(least: float, section: object, *names: str) -> None:
    """Raise ValueError, naming the field, unless each is at least `least`."""
    for name in names:
        if not (value := getattr(section, name)) >= least:  # so that nan is none either
            raise ValueError(f"{name} is {value}, under {least}")


def at_most(most: float, section: object, *names: str) -> None:
    """Raise ValueError, naming the field, where one is more."""
    for name in names:
        if not (value := getattr(section, name)) <= most:
            raise ValueError(f"{name} is {value}, over {most}")


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or the names there are when none is near."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(names))}"


def defaults(config: Any) -> dict[str, Any]:
    """What each option of the config is where nobody says anything, as plain JSON types; those without one left out."""
    return dict(json.loads(json.dumps(_defaults(config))))


def _defaults(config: Any) -> Any:
    if isinstance(config, tuple):
        return [_defaults(each) if dataclasses.is_dataclass(each) else each for each in config]
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) or (value and isinstance(value, tuple)):
            found[field.name] = _defaults(value)
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def resolved(config: Any) -> dict[str, Any]:
    """The config with every default filled in, as plain JSON types."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _apply(values: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"--set takes section.key=value, not {override!r}")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, key = path.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section} is not a section")
    values[key] = value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint) or hint
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is a section, not a value")
        return build(hint, value, where + ".")  # type: ignore[arg-type]
    if origin is tuple:
        item = typing.get_args(hint)[0]
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(item, each, where) for each in items)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(f"{where} is {value!r}{nearest(str(value), map(str, choices))}")
        return value
    if origin is types.UnionType:
        raise TypeError(f"{where}: unions are not config types")
    if origin is float and type(value) is int:
        return float(value)
    if type(value) is not origin:
        raise ConfigError(f"{where} takes {origin.__name__}, not {value!r}")
    return value

"""Settings: TOML and --set to frozen dataclasses, and the one line that a mistake gets."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from advcore import ConfigError, settings


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()
    rule: Literal["one", "two"] = "one"


@dataclass(frozen=True, kw_only=True)
class Outer:
    model: str
    count: int = 3
    inner: Inner = field(default_factory=Inner)


def write(tmp_path, text):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def test_sections_become_nested_dataclasses_and_overrides_win(tmp_path):
    file = write(tmp_path, 'model = "m"\n[inner]\nrate = 1\nnames = ["a", "b"]')
    loaded = settings.load(Outer, file, ["count=7", "inner.rule=two", "model=other/name"])
    assert loaded == Outer(model="other/name", count=7, inner=Inner(rate=1.0, names=("a", "b"), rule="two"))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ('model = "m"\ncuont = 4', [], "unknown key cuont; did you mean count?"),
        ('model = "m"\n[inner]\nrat = 4', [], "unknown key inner.rat; did you mean rate?"),
        ("count = 4", [], "model is required"),
        ('model = "m"\ncount = "4"', [], "count takes int, not '4'"),
        ('model = "m"\ncount = true', [], "count takes int, not True"),
        ('model = "m"\n[inner]\nrule = "tow"', [], "inner.rule is 'tow'; did you mean two?"),
        ('model = "m"\ninner = 3', [], "inner is a section, not a value"),
        ('model = "m"', ["count"], "--set takes section.key=value"),
        ('model = "m"', ["model.x=3"], "model is not a section"),
        ("model = ", [], "is not valid TOML"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(tmp_path, text, overrides, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace("?", r"\?")) as caught:
        settings.load(Outer, write(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        settings.load(Outer, tmp_path / "none.toml")


def test_a_folder_and_a_file_that_is_no_text_are_one_line_each(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        settings.load(Outer, tmp_path)
    (tmp_path / "config.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(ConfigError, match=r"config\.toml is not valid TOML: .*utf-8"):
        settings.load(Outer, tmp_path / "config.toml")


def test_the_resolved_config_builds_the_same_config_again():
    config = Outer(model="m", inner=Inner(names=("x",)))
    assert settings.build(Outer, settings.resolved(config)) == config

"""The shipped recipes: listed with what they are for, copied, never over somebody's own file."""

import subprocess
import sys

import pytest

from advcore import ConfigError
from advdistill import recipes
from advdistill.cli import main


def test_every_recipe_is_listed_with_a_sentence(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 10
    assert all(len(line.split()) > 5 for line in lines)
    assert any(line.startswith("accelerate/ddp.yaml") for line in lines)


def test_a_recipe_is_copied_with_what_belongs_to_it(tmp_path, capsys):
    assert main(["recipes", "quickstart", "--to", str(tmp_path / "new")]) == 0
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names == {"quickstart.py", "quickstart.toml", "quickstart_dpo.toml"}
    assert capsys.readouterr().out.count(str(tmp_path)) == 3
    assert recipes.copy("quickstart.toml", tmp_path / "new") == [tmp_path / "new" / "quickstart.toml"]


def test_a_file_of_ones_own_is_not_overwritten_and_a_misspelt_name_is_told(tmp_path):
    (tmp_path / "sft.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"sft.toml is there and differs"):
        recipes.copy("sft", tmp_path)
    assert (tmp_path / "sft.toml").read_text() == "mine"
    with pytest.raises(ConfigError, match="did you mean"):
        recipes.copy("quickstrt.toml", tmp_path)


def test_every_script_of_the_recipes_compiles_and_finds_its_configs(tmp_path):
    for name in recipes.listed():
        if name.endswith(".py"):
            source = recipes.shipped(f"recipes/{name}").read_text()
            compile(source, name, "exec")
            named = {word for word in recipes.listed() if f'"{word}"' in source}
            assert all(recipes.shipped(f"recipes/{word}").is_file() for word in named)
    done = subprocess.run(
        [sys.executable, "-m", "advdistill", "recipes"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

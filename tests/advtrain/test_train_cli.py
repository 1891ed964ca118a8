"""The command line: one clear line and exit code 2 for what a person got wrong, data on stdout, talk on
stderr."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from advtrain import methods, models, patches, plan
from advtrain.cli import main
from advtrain.config import Lora, load

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def toml(tmp_path, pairs, tiny):
    """A function of lines that gives a config file; they come before the section that is there."""

    def write(*lines, dataset=pairs, model=tiny):
        file = tmp_path / "run.toml"
        head = [f'method = "dpo"\ndataset = "{dataset}"\nmodel = "{model}"', *lines]
        file.write_text("\n".join([*head, "[train]\nlearning_rate = 1e-2\nbatch_size = 2\n"]))
        return str(file)

    return write


def refusal(capsys, *arguments):
    """The one line on stderr of a command that must end with exit code 2."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_bad_input_is_one_line_and_exit_code_2(toml, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert (
        refusal(capsys, "run", toml("max_lenght = 3"))
        == "error: unknown key max_lenght; did you mean max_length?"
    )
    assert "does not exist" in refusal(capsys, "run", "nowhere.toml")
    assert "unknown model studen;" in refusal(capsys, "run", toml(model="studen"), "--out", run)
    assert "no folder, no JSONL file" in refusal(capsys, "run", toml(dataset="nowhere"), "--out", run)
    columns = tmp_path / "columns.jsonl"
    columns.write_text('{"prompt": "p", "chosen": "c"}\n')
    assert "lacks rejected (found: chosen, prompt)" in refusal(
        capsys, "run", toml(dataset=columns), "--out", run
    )
    assert "trl.report_to is set by report_to" in refusal(
        capsys, "run", toml('report_to = "none"'), "--out", run, "--set", "trl.report_to=wandb"
    )
    assert "needs its package: pip install wandb" in refusal(
        capsys, "run", toml('report_to = "wandb"'), "--out", run
    )
    assert "trl.betta" in refusal(capsys, "run", toml(), "--out", run, "--set", "trl.betta=1")
    assert "is a folder" in refusal(capsys, "run", str(tmp_path))
    columns.write_bytes(b"\xff")
    assert "is not JSON" in refusal(capsys, "run", toml(dataset=columns), "--out", run)
    assert "unknown bench mbpp" in refusal(capsys, "eval", "student", "--bench", "mbpp")


def test_a_model_folder_that_cannot_be_loaded_is_one_line_of_eval(tmp_path, capsys, monkeypatch):
    from advtrain import evaluate

    task = evaluate.Task(task_id="T/0", entry_point="f", stub="def f():\n", tests="")
    monkeypatch.setattr(evaluate, "load_tasks", lambda bench: [task])
    (tmp_path / "config.json").write_text("{}")
    assert "cannot load model" in refusal(capsys, "eval", str(tmp_path))


def test_bad_input_leaves_no_run_folder(toml, tmp_path):
    assert main(["run", toml(dataset="nowhere"), "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_config_rows_and_steps_and_trains_nothing(toml, tmp_path, capsys):
    arguments = ["run", toml(), "--out", str(tmp_path / "run"), "--dry-run", "--set", "train.epochs=2.5"]
    assert main(arguments) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["train"]["epochs"] == 2.5
    assert plan["rows"]["trained"] == 6
    assert plan["steps"] == 8
    policy = models.load_policy(plan["config"]["model"], "", Lora(), seed=0)
    trainable, _ = policy.get_nb_trainable_parameters()
    assert plan["trainable_parameters"] == trainable > 0
    assert plan["parameters"] == models.load_base(plan["config"]["model"]).num_parameters()
    memory = plan["memory_bytes"]
    assert memory["adapter"] == 16 * trainable
    assert memory["training"] == sum(memory[name] for name in ("weights", "adapter", "activations", "head"))
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_the_adapter_that_training_goes_on_with(toml, tmp_path, tiny, capsys):
    adapter = tmp_path / "adapter"
    policy = models.load_policy(tiny, "", Lora(r=4), seed=0)
    policy.peft_config["default"].base_model_name_or_path = tiny
    policy.save_pretrained(adapter)
    arguments = ["run", toml(f'adapter = "{adapter}"'), "--dry-run"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trainable_parameters"] == policy.get_nb_trainable_parameters()[0]
    assert told["config"]["lora"]["r"] == 16
    (adapter / "adapter_model.safetensors").unlink()
    assert "holds no weights" in refusal(capsys, *arguments)
    assert "has no adapter_config.json" in refusal(capsys, *arguments, "--set", f"adapter={tmp_path}")


def test_a_dry_run_counts_a_reference_that_is_a_model_of_its_own(toml, tiny, capsys):
    weights = []
    for reference in ("base", tiny):
        assert main(["run", toml(f'reference = "{reference}"'), "--dry-run"]) == 0
        weights.append(json.loads(capsys.readouterr().out)["memory_bytes"]["weights"])
    assert weights[1] == 2 * weights[0]


def test_a_dry_run_estimates_the_activations_that_autograd_keeps(toml, tiny):
    from torch import autograd, zeros

    settings = load(toml(), ["train.batch_size=1", "lora.r=1"])
    _, _, examples = methods.of(settings).prepare()
    policy = models.load_policy(tiny, "", settings.lora, seed=0)
    patches.fuse_lora(policy)
    own = {each.untyped_storage().data_ptr() for each in policy.parameters()}
    kept = {}  # by storage: views of one are kept once, and none is freed before it is counted

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = zeros(1, max(example.tokens for example in examples), dtype=int)
    with autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.base_model.model.model(ids)
    found = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in own)
    assert plan.plan(settings)["memory_bytes"]["activations"] == pytest.approx(found, rel=0.2)


def test_a_run_prints_its_folder_on_stdout_and_nothing_else(toml, tmp_path):
    command = [sys.executable, "-m", "advtrain", "run", toml(), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert "dpo: 3/3" in done.stderr
    assert re.search(r"loss \d\.\d{4}, margin [+-]\d\.\d{3}, \d+ tokens/s", done.stderr)
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["quickstart_dpo.toml", "sft.toml"])
def test_the_shipped_recipes_resolve(file):
    from advcore import settings

    values = tomllib.loads((RECIPES / file).read_text())
    assert settings.resolved(load(RECIPES / file))["method"] == values["method"]

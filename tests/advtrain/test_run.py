"""Training end to end on the tiny model: runs, reruns, resumes, references, margins."""

import json

import pytest
import torch

from advcore import ConfigError, DataError, contract, settings
from advcore.engine import names
from advtrain import encoding, methods, models, plan, run
from advtrain.config import Dpo as DpoSection
from advtrain.config import RunConfig, Sft, dataset_config, load
from advtrain.loop import log
from advtrain.methods import margins
from advtrain.methods.dpo import Dpo


def test_dpo_trains_a_public_preference_set_and_leaves_margins(config, tmp_path):
    manifest = run.run(config(), tmp_path / "run")
    rows = contract.read(tmp_path / "run", "margins")
    assert [row["exercise_id"] for row in rows] == list("012345")
    for row in rows:
        contract.check_row("margins", row)
    assert all(row["margin"] > 0 for row in rows)
    assert manifest["margins"]["accuracy"] == 1.0
    assert manifest["rows"] == {"read": 6, "trained": 6, "truncated": 0, "dropped": 0}
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 3]
    adapter = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == config().model
    assert (adapter["r"], adapter["lora_alpha"]) == (16, 32)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_finished_run_is_left_alone_and_another_config_is_refused(config, tmp_path):
    first = run.run(config(), tmp_path / "run")
    stamp = (tmp_path / "run" / "manifest.json").stat().st_mtime_ns
    assert run.run(config(), tmp_path / "run") == first
    assert (tmp_path / "run" / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="another seed"):
        run.run(config(seed=1), tmp_path / "run")


def test_other_rows_at_the_same_path_are_refused_in_a_finished_and_in_a_half_trained_folder(
    config, pairs, tmp_path
):
    run.run(config(), tmp_path / "run")
    changed = pairs.read_text().replace("adds 3", "adds three")
    pairs.write_text(changed)
    with pytest.raises(ConfigError, match="another dataset_revision"):
        run.run(config(), tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="another dataset_revision"):
        run.run(config(), tmp_path / "run")


def test_sft_then_dpo_on_its_adapter_with_either_reference(config, tmp_path):
    completions = tmp_path / "sft.jsonl"
    completions.write_text(json.dumps({"prompt": "Add.", "completion": "def f(x):\n    return x\n"}) + "\n")
    run.run(config(method="sft", dataset=str(completions), train={"epochs": 4.0}), tmp_path / "sft")
    losses = [
        json.loads(line).get("loss") for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()
    ]
    assert losses[3] < losses[0]

    chained = {"adapter": str(tmp_path / "sft" / "adapter"), "train": {"learning_rate": 1e-12}}
    still = run.run(config(reference="previous", **chained), tmp_path / "previous")
    moved = run.run(config(reference="base", **chained), tmp_path / "base")
    assert abs(still["margins"]["mean"]) < 1e-4  # nothing was learnt, so the policy is its own reference
    assert abs(moved["margins"]["mean"]) > 1e-3  # the SFT round counts as movement away from the base
    assert still["reference"] != moved["reference"] == config().model
    assert (
        still["adapter_parent"]["sha256"]
        == json.loads((tmp_path / "sft" / "manifest.json").read_text())["adapter_sha256"]
    )


def test_a_reference_may_be_a_whole_model(config, tiny, tmp_path):
    same = run.run(config(), tmp_path / "base")
    whole = run.run(config(reference=tiny), tmp_path / "whole")
    assert whole["margins"]["mean"] == pytest.approx(same["margins"]["mean"], abs=2e-2)
    assert whole["reference"] == names.identity(tiny)
    assert models.reference(config(reference="student")).id == "student"
    assert models.reference(config(reference="user/name")).id == "user/name"


def test_margins_equal_those_computed_one_pair_at_a_time(config, tmp_path):
    settings_ = config(dpo={"margin_matmul": "highest"})
    run.run(settings_, tmp_path / "run")
    rows = contract.read(tmp_path / "run", "margins")
    policy = (
        models.load_policy(settings_.model, str(tmp_path / "run" / "adapter"), settings_.lora, 0)
        .float()
        .eval()
    )
    examples = encoding.encode(
        models.load_tokenizer(settings_.model), encoding.load(settings_.dataset, "dpo").rows, "dpo", 2048
    )

    def logp(prompt, completion):
        with torch.no_grad():
            logits = policy(torch.tensor([prompt + completion])).logits[0, :-1].float().log_softmax(-1)
        return sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(completion))

    for row, example in zip(rows, examples, strict=True):
        after = [logp(example.prompt, completion) for completion in example.completions]
        with policy.disable_adapter():
            before = [logp(example.prompt, completion) for completion in example.completions]
        expected = 0.1 * ((after[0] - before[0]) - (after[1] - before[1]))
        assert row["margin"] == pytest.approx(expected, abs=1e-5)
        assert row["chosen_tokens"] == len(example.completions[0])


def test_rows_that_do_not_fit_are_told_before_training_and_marked(config, tmp_path, capsys):
    lengths = [
        (len(example.prompt), example.length)
        for example in encoding.encode(
            models.load_tokenizer(config().model), encoding.load(config().dataset, "dpo").rows, "dpo", 2048
        )
    ]
    fits = max(prompt for prompt, _ in lengths) + 4
    long = {"prompt": "word " * 200, "chosen": "a", "rejected": "b"}
    file = tmp_path / "long.jsonl"
    file.write_text((tmp_path / "pairs.jsonl").read_text() + json.dumps(long) + "\n")
    manifest = run.run(config(dataset=str(file), max_length=fits), tmp_path / "run")
    assert manifest["rows"] == {"read": 7, "trained": 6, "truncated": 6, "dropped": 1}
    assert f"1 of 7 rows dropped, their prompt alone fills {fits} tokens: 6" in capsys.readouterr().err
    last = contract.read(tmp_path / "run", "margins")[-1]
    assert last["dropped"]
    assert last["margin"] != last["margin"]


def test_several_pairs_of_an_exercise_give_one_row_with_their_mean():
    row = {
        "r_chosen": 0.0,
        "r_rejected": 0.0,
        "margin_per_token": 0.0,
        "chosen_tokens": 3,
        "rejected_tokens": 4,
    }
    merged = margins._mean(
        [
            {**row, "margin": 1.0, "truncated": False, "dropped": False},
            {**row, "margin": 3.0, "truncated": True, "dropped": False},
            margins._dropped_row(),
        ]
    )
    assert (merged["margin"], merged["truncated"], merged["dropped"]) == (2.0, True, False)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"learning_rat": 1}, "unknown key trl.learning_rat; did you mean learning_rate?"),
        ({"learning_rate": 1.0}, "trl.learning_rate is set by train.learning_rate"),
        ({"beta": 1.0}, "trl.beta is set by dpo.beta"),
        ({"truncation_mode": "keep_end"}, "trl.truncation_mode would do nothing"),
        ({"lr_scheduler_type": "zigzag"}, "TRL refuses these options"),
        ({"precompute_ref_log_probs": True}, "trl.precompute_ref_log_probs would change the reference"),
        ({"sync_ref_model": True}, "trl.sync_ref_model would change the reference"),
    ],
)
def test_a_trl_option_that_cannot_be_used_is_refused(config, tmp_path, section, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        run.run(config(trl=section), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # a typo must not lock the folder


def test_a_trl_option_reaches_trl(config, tmp_path):
    run.run(config(trl={"max_steps": 1}), tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_models_and_adapters_that_do_not_fit_are_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="unknown model studnet; did you mean student"):
        run.run(config(model="studnet"), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"has no adapter_config\.json"):
        run.run(config(adapter=str(tmp_path)), tmp_path / "b")
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(ConfigError, match="was trained on somebody/else, not on"):
        run.run(config(adapter=str(other)), tmp_path / "c")
    (other / "adapter_config.json").write_text("{")
    with pytest.raises(ConfigError, match="is no PEFT adapter config"):
        run.run(config(adapter=str(other)), tmp_path / "d")
    (other / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": config().model}))
    with pytest.raises(ConfigError, match="holds no weights"):
        run.run(config(adapter=str(other)), tmp_path / "e")
    with pytest.raises(ConfigError, match='reference = "previous" needs `adapter`'):
        config(reference="previous")


def test_the_learning_rate_follows_the_method_and_the_resolved_config_says_which(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('method = "dpo"\ndataset = "d"\nmodel = "m"\n')
    assert settings.resolved(load(file))["train"]["learning_rate"] == 5e-6
    assert load(file, ["method=sft"]).train.learning_rate == 1e-4
    assert load(file, ["train.learning_rate=0.5"]).train.learning_rate == 0.5


@pytest.mark.parametrize(
    ("values", "rows", "rate"),
    [
        ({"method": "dpo"}, "dpo", 5e-6),
        ({"method": "dpo", "dpo": DpoSection(config="gad")}, "gad", 5e-6),
        ({"method": "sft"}, "sft", 1e-4),
        ({"method": "sft", "sft": Sft(config="gad")}, "gad", 1e-4),
        ({"method": "gad"}, "gad", 1e-5),
    ],
)
def test_a_config_made_in_python_is_complete_and_says_its_rows_as_its_method_does(values, rows, rate):
    config = RunConfig(dataset="d", model="m", **values)
    assert config.train.learning_rate == rate
    assert dataset_config(settings.resolved(config)) == methods.of(config).rows == rows


def test_a_run_killed_after_training_only_scores_its_margins(config, tmp_path):
    first = run.run(config(), tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    stamp = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    again = run.run(config(), tmp_path / "run")
    assert again["margins"] == first["margins"]
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_previous_stays_frozen_while_the_policy_trains(config, tmp_path):
    run.run(config(), tmp_path / "first")
    adapter = str(tmp_path / "first" / "adapter")
    settings_ = config(adapter=adapter, reference="previous")
    _, tokenizer, examples = methods.of(settings_).prepare()
    policy = models.load_policy(settings_.model, adapter, settings_.lora, 0)
    trainer = Dpo(settings_).build(policy, tokenizer, examples, tmp_path / "second")
    frozen = {name: weight.clone() for name, weight in policy.named_parameters() if ".ref." in name}
    assert frozen
    assert not any(policy.get_parameter(name).requires_grad for name in frozen)
    log.fit(trainer, tmp_path, "dpo")
    for name, weight in frozen.items():
        assert torch.equal(policy.get_parameter(name), weight)


def test_the_measured_flip_rate_of_a_dataset_is_the_robust_losss_label_smoothing(
    config, tmp_path, preferences
):
    folder = tmp_path / "dataset"
    rows = [contract_row(number, row) for number, row in enumerate(preferences)]
    contract.write_round(folder, "dpo", 0, rows)
    asked = config(dataset=str(folder), dpo={"loss_type": ["robust"], "smoothing": "measured"})
    with pytest.raises(DataError, match=r"run advgen calibrate, or leave dpo\.smoothing out"):
        plan.plan(asked)
    (folder / "calibration.json").write_text('{"flip_rate": 0.125}')
    assert plan.plan(asked)["config"]["dpo"]["label_smoothing"] == 0.125
    (folder / "calibration.json").write_text('{"flip_rate": 2}')
    with pytest.raises(DataError, match="holds no flip_rate from 0 to 1"):
        plan.plan(asked)


def contract_row(number, row):
    messages = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {
        **{name: [{"role": role, "content": row[name]}] for name, role in messages.items()},
        "exercise_id": str(number), "parent_id": "", "round": 0, "strategy": "seed", "topic": "", "subtopic": "",
        "entry_point": "f", "tests": "[]", "chosen_source": "teacher", "failure_kind": "", "failed_test": 0,
        "student_pass_rate": 0.5, "n_attempts": 2, "chosen_chars": 1, "rejected_chars": 1, "p_true": 0.9,
        "teacher": "t", "student": "s", "sandbox": "{}", "provenance": "{}", "schema_version": contract.SCHEMA_VERSION,
    }  # fmt: skip


def test_the_last_round_is_not_the_one_before_where_it_gave_no_pair(config, tmp_path, preferences):
    folder = tmp_path / "dataset"
    contract.write_round(folder, "dpo", 0, [contract_row(at, row) for at, row in enumerate(preferences)])
    (folder / "rounds.json").write_text('[{"round": 0}, {"round": 1}]')
    assert plan.plan(config(dataset=str(folder)))["rows"]["read"] == 6
    with pytest.raises(DataError, match=r"round 1 of .* has no dpo rows"):
        plan.plan(config(dataset=str(folder), rounds="last"))


def test_smoothing_that_no_loss_reads_is_refused(config):
    with pytest.raises(ConfigError, match="reads no label_smoothing"):
        config(dpo={"label_smoothing": 0.1})
    with pytest.raises(ConfigError, match="not in"):
        config(dpo={"loss_type": ["robust"], "label_smoothing": 0.5})
    for odd in ({"loss_type": ["robust"]}, {"config": "gad"}):
        with pytest.raises(ConfigError, match=r"is for dpo\.loss_type"):
            config(dpo={"smoothing": "rows", **odd})
    with pytest.raises(ConfigError, match="would do nothing"):
        config(dpo={"loss_type": ["robust"], "smoothing": "measured", "label_smoothing": 0.1})


def test_a_fall_of_the_margins_since_the_parents_round_is_told(config, tmp_path, capsys):
    run.run(config(), tmp_path / "first")
    file = tmp_path / "first" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["margins"] |= {"mean": 9.0, "std": 0.1, "count": 50}
    file.write_text(json.dumps(manifest))
    chained = {"adapter": str(tmp_path / "first" / "adapter"), "train": {"learning_rate": 1e-12}}
    (found,) = run.run(config(**chained), tmp_path / "second")["warnings"]
    assert found.startswith("the mean margin fell from +9.0000 to ")
    assert f"warning: {found}" in capsys.readouterr().err

"""GAD as a whole, on a tiny random student: losses against plain ones, stages, checkpoints, ablations, alarms."""

import json
import math
import re
from collections import Counter

import pytest

from advcore import ConfigError, DataError, chat, settings
from advcore.engine import loading
from advtrain import CheckpointError, methods, models, plan, run
from advtrain.config import Gad, RunConfig
from advtrain.encoding import replies
from advtrain.encoding.replies import Reply
from advtrain.forward import attention, prefix
from advtrain.methods import losses, soda
from advtrain.methods.gad import alarms, held_out, trainer

torch = pytest.importorskip("torch")
REPLIES = [
    ("Add one.", "return x + 1"),
    ("Say hello to the reader, please.", "hello"),
    ("List three colours.", "red, green and blue; nothing else comes to mind"),
    ("Double a number.", "def f(x):\n    return 2 * x\n"),
    ("What is the sum of two and two?", "four"),
    ("Name a fruit.", "an apple"),
    ("Count to three.", "one two three"),
    ("Say nothing.", "."),
    *((f"Repeat the number {number}.", str(number)) for number in range(6)),
]


@pytest.fixture
def rows_file(tmp_path):
    """A public set for GAD: prompts with a teacher's replies."""
    file = tmp_path / "replies.jsonl"
    rows = [{"prompt": prompt, "teacher_response": reply} for prompt, reply in REPLIES]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def make(tiny, rows_file, monkeypatch):
    """A function of overrides that gives a config of two steps of warm-up and two of GAD, in float32."""
    monkeypatch.setattr(loading, "precision", lambda: (torch.float32, "to compare digits"))

    def config(**sections):
        values = {
            "method": "gad", "dataset": str(rows_file), "model": tiny,
            "train": {"learning_rate": 1e-3, "batch_size": 1, "gradient_accumulation": 2, "checkpoint_steps": 1},
            "gad": {"samples": 3, "max_new_tokens": 8, "held_out": 10},
            "discriminator": {"learning_rate": 1e-2, "warmup_steps": 1},
        }  # fmt: skip
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return settings.build(RunConfig, values)

    return config


@pytest.fixture
def build(make, tmp_path):
    """A function of overrides that gives a trainer which has not begun."""

    def built(**sections):
        config = make(**sections)
        _, tokenizer, examples = methods.of(config).prepare()
        policy = models.load_policy(config.model, "", config.lora, config.seed)
        return methods.of(config).build(policy, tokenizer, examples, tmp_path / "run")

    return built


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def whole(folder):
    """All that a run leaves in numbers; not its times, nor the mean loss of the process that ended it."""
    passing = ("second", "_per_s", "time", "train_")
    kept = [
        {name: value for name, value in row.items() if not any(word in name for word in passing)}
        for row in metrics(folder)
    ]
    files = (
        "adapter/adapter_model.safetensors",
        "last/adapter_model.safetensors",
        "discriminator.safetensors",
    )
    return kept, [(folder / name).read_bytes() for name in files], held_out.measured(folder)


def test_a_run_warms_up_plays_and_keeps_what_it_needs(make, tmp_path):
    folder = tmp_path / "run"
    manifest = run.run(make(), folder)
    rows = metrics(folder)
    steps = [row for row in rows if "loss" in row]
    assert [row["learning_rate"] for row in steps] == [1e-4, 1e-4, 1e-3, 1e-3]
    assert steps[0]["grad_norm"] == 0  # the discriminator is alone
    assert steps[1]["grad_norm"] > 0
    assert ["kl" in row for row in steps] == [False, False, True, True]
    assert steps[2]["kl"] == pytest.approx(0, abs=1e-7)  # to the student as the warm-up left it
    assert steps[3]["kl"] > 0
    for name in (
        "discriminator/loss", "discriminator/accuracy", "discriminator/gap", "rewards/discriminator/mean",
        "rewards/discriminator/std", "length/teacher", "length/student", "rouge_l",
        "tokens_per_s/rollout", "tokens_per_s/discriminator", "tokens_per_s/student",
    ):  # fmt: skip
        assert all(name in row for row in steps), name
    asked = ["entropy" in row for row in steps]
    assert asked == [False, True, True, True]  # a student that waits is not
    assert [row["step"] for row in held_out.measured(folder)] == [1, 2, 3, 4]
    assert manifest["held_out"]["step"] == held_out.best(held_out.measured(folder))["step"]
    assert manifest["rows"] == {"read": 14, "trained": 4, "held_out": 10, "truncated": 3, "dropped": 0}
    assert not (folder / "best").exists()
    (folder / "checkpoints").mkdir()  # as a kill between the manifest and the end leaves it
    assert run.run(make(), folder) == manifest
    assert not (folder / "checkpoints").exists()


def test_the_same_run_twice_gives_the_same_numbers_and_another_seed_does_not(make, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run.run(make(seed=seed), tmp_path / name)
    assert whole(tmp_path / "one") == whole(tmp_path / "two")
    assert whole(tmp_path / "one") != whole(tmp_path / "three")


@pytest.mark.parametrize("step", [1, 2, 3])  # in the warm-up, at its end, after it
def test_a_run_that_was_killed_goes_on_to_the_last_digit(make, tmp_path, monkeypatch, step):
    run.run(make(), tmp_path / "whole")

    class Killed(BaseException):
        pass

    save = trainer.AdversarialTrainer._save_checkpoint

    def killed(self, model, trial):
        if self.state.global_step > step:
            raise Killed
        save(self, model, trial)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.AdversarialTrainer, "_save_checkpoint", killed)
        with pytest.raises(Killed):
            run.run(make(), tmp_path / "killed")
    assert (tmp_path / "killed" / "checkpoints" / f"checkpoint-{step}").is_dir()
    run.run(make(), tmp_path / "killed")
    assert whole(tmp_path / "killed") == whole(tmp_path / "whole")


def test_layers_that_are_computed_again_for_their_gradients_change_nothing(make, tmp_path, tiny, monkeypatch):
    def steps(name, **trl):
        passes = Counter()
        monkeypatch.setattr(
            attention, "_apart", lambda module, *rest: passes.update([id(module)]) or apart(module, *rest)
        )
        run.run(make(discriminator={"model": tiny}, trl=trl), tmp_path / name)
        names = ("loss", "grad_norm", "discriminator/loss", "discriminator/grad_norm")
        return passes, [[row[each] for each in names] for row in metrics(tmp_path / name) if "loss" in row]

    apart = attention._apart
    once, plain = steps("plain")
    more, again = steps("again", gradient_checkpointing=True)
    assert again == plain
    assert len(once) == len(more) == 4  # two layers of each adapter
    assert min(more.values()) > min(once.values())
    assert max(more.values()) > max(once.values())


def test_the_stages_apart_are_the_stages_in_one_run(make, tmp_path):
    run.run(make(gad={"held_out": 0, "stages": ["warmup"]}), tmp_path / "warm")
    assert len([row for row in metrics(tmp_path / "warm") if "loss" in row]) == 7
    start = str(tmp_path / "warm" / "discriminator.safetensors")
    config = make(
        gad={"held_out": 0, "stages": ["gad"]}, discriminator={"init_from": start},
        adapter=str(tmp_path / "warm" / "adapter"),
    )  # fmt: skip
    run.run(config, tmp_path / "gad")
    steps = [row for row in metrics(tmp_path / "gad") if "loss" in row]
    assert len(steps) == 7
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-7)
    assert steps[0]["discriminator/loss"] < math.log(2)  # it had learnt
    with open(start, "ab") as file:
        file.write(b"other weights")
    with pytest.raises(ConfigError, match="holds a run with another start_sha256"):
        run.run(config, tmp_path / "gad")


@pytest.mark.parametrize("own", [False, True])
def test_a_teachers_reply_is_encoded_once_by_each_tokenizer(make, tmp_path, tiny, monkeypatch, own):
    encoded, encode = Counter(), chat.reply_ids

    def counted(tokenizer, messages, start, text):
        encoded[messages[0]["content"], text] += 1
        return encode(tokenizer, messages, start, text)

    monkeypatch.setattr(chat, "reply_ids", counted)
    run.run(make(gad={"max_new_tokens": 40}, discriminator={"model": tiny if own else ""}), tmp_path / "run")
    whole = [
        pair for pair in REPLIES if len(pair[1]) < 40
    ]  # those that are cut are encoded as they are left, too
    assert [encoded[pair] for pair in whole] == [1 + own] * len(whole)


def logits(trainer, ids):
    with torch.no_grad():
        return trainer.model.get_base_model()(input_ids=torch.tensor([ids])).logits[0].float()


def test_the_warm_up_is_plain_cross_entropy_on_the_teachers_tokens(build):
    trainer = build(discriminator={"warmup_steps": 0})
    batch = [row for row in trainer.train_dataset for _ in range(3)][:6]
    inputs = trainer._warmup_inputs(batch)
    loss = sum(trainer._compute_loss(trainer.model, part).item() for part in inputs)
    total, count = 0.0, 0
    for row in batch[::3]:
        read = trainer.pairs[row["pair"]].student
        prompt, reply = read.prompt, read.reply
        scores = logits(trainer, prompt + reply)[len(prompt) - 1 : -1]  # at temperature 1
        total += torch.nn.functional.cross_entropy(scores, torch.tensor(reply), reduction="sum").item()
        count += len(reply)
    assert loss == pytest.approx(total / count, abs=1e-5)


def test_the_policy_gradient_is_that_of_advantages_by_hand(build, monkeypatch):
    trainer = build(gad={"stages": ["gad"]})
    trainer.current_gradient_accumulation_steps = 2  # as in training
    batch = [row for row in trainer.train_dataset for _ in range(3)][:6]
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0]])
    monkeypatch.setattr(trainer.discriminator, "rewards", lambda scores, groups: rewards)
    parts = trainer._gad_inputs(batch)
    loss = sum(trainer._compute_loss(trainer.model, part) for part in parts)
    loss.backward()
    weight = next(each for name, each in trainer.model.named_parameters() if "lora_B.default" in name)
    ours = weight.grad.clone()
    trainer.model.zero_grad()
    advantages = losses.group_advantages(rewards).flatten()
    found = sorted(each for part in parts for each in part["advantages"].tolist())
    assert found == pytest.approx(sorted(advantages.tolist()), abs=1e-5)
    expected = 0
    for part in parts:
        for at, advantage in enumerate(part["advantages"]):
            prompt = part["prompt_ids"][at][part["prompt_mask"][at] > 0].tolist()
            reply = part["completion_ids"][at][part["completion_mask"][at] > 0].tolist()
            scores = trainer.model.get_base_model()(input_ids=torch.tensor([prompt + reply])).logits[0]
            logps = (scores[len(prompt) - 1 : -1].float() / 0.8).log_softmax(1)
            tokens = logps.gather(1, torch.tensor(reply)[:, None]).sum()
            expected = expected - advantage * tokens / parts[0]["num_items_in_batch"]
    expected.backward()
    torch.testing.assert_close(ours, weight.grad, atol=1e-6, rtol=1e-4)


def test_a_frozen_discriminator_learns_in_the_warm_up_only(build):
    trainer = build(discriminator={"frozen": True})
    assert trainer.discriminator_learns
    trainer.state.global_step = trainer.warm_steps
    assert not trainer.discriminator_learns
    before = trainer.discriminator.state()["weights"]
    before = {name: weight.clone() for name, weight in before.items()}
    trainer._gad_inputs([row for row in trainer.train_dataset for _ in range(3)][:6])
    after = trainer.discriminator.state()["weights"]
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("who", "student", "discriminator"), [("student", True, False), ("discriminator", False, True)]
)
def test_one_side_alone_can_warm_up(build, who, student, discriminator):
    trainer = build(gad={"warmup": who}, discriminator={"warmup_steps": 0})
    assert (trainer.student_learns, trainer.discriminator_learns) == (student, discriminator)
    trainer.state.global_step = trainer.warm_steps
    assert (trainer.student_learns, trainer.discriminator_learns) == (True, True)


def test_a_student_that_waits_stays_as_it_was_while_the_discriminator_learns(build):
    trainer = build(gad={"warmup": "discriminator"}, trl={"max_steps": 2, "weight_decay": 0.5})
    student = {name: each.clone() for name, each in trainer.model.named_parameters() if ".default." in name}
    discriminator = {name: each.clone() for name, each in trainer.discriminator.weights.items()}
    trainer.train()
    for name, weight in trainer.model.named_parameters():
        assert name not in student or torch.equal(weight, student[name])
    assert any(
        not torch.equal(weight, discriminator[name]) for name, weight in trainer.discriminator.weights.items()
    )
    assert not trainer.optimizer.state


def test_a_warm_up_of_the_student_alone_samples_nothing(build, monkeypatch):
    trainer = build(gad={"warmup": "student"})
    monkeypatch.setattr("advtrain.forward.rollout.sample", lambda *_: pytest.fail("it sampled"))
    trainer._warmup_inputs([row for row in trainer.train_dataset for _ in range(3)][:6])


def test_a_reply_that_the_teacher_was_cut_in_has_not_ended(make, tokenizer, tmp_path):
    file = tmp_path / "cut.jsonl"
    row = {"prompt": "Say it.", "teacher_response": "so", "finish_reason": "length"}
    file.write_text((json.dumps(row) + "\n") * 4)
    config = make(dataset=str(file), gad={"held_out": 0})
    _, _, examples = methods.of(config).prepare()
    trainer = methods.of(config).build(
        models.load_policy(config.model, "", config.lora, 0), tokenizer, examples, tmp_path / "run"
    )
    assert tokenizer.eos_token_id not in trainer.pairs[0].student.reply


def test_the_papers_dataset_is_read_by_its_own_column(make, tmp_path):
    file = tmp_path / "lmsys.jsonl"
    row = {"content": [{"role": "user", "content": "Hi."}], "teacher_response": "Hello."}
    file.write_text((json.dumps(row) + "\n") * 3)
    config = make(dataset=str(file), gad={"held_out": 0}, discriminator={"warmup_steps": 0})
    _, _, examples = methods.of(config).prepare()
    assert len(examples) == 3


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"gad": {"samples": 1}}, "a group needs 2"),
        ({"gad": {"stages": ["gad", "warmup"]}}, "gad.stages is"),
        (
            {"gad": {"held_out": 13}},
            "1 rows to train on, without gad.held_out, are fewer than the 2 of one step",
        ),
        ({"gad": {"held_out": 20}}, "0 rows to train on, without gad.held_out, are fewer than"),
        ({"gad": {"held_out": 4}}, "fewer than 10 prompts tell nothing"),
        ({"gad": {"evaluation": "judge it"}}, "does not say where the {answers} go"),
        ({"gad": {"warmup_epochs": 0.1}}, "a stage has no step"),
        ({"discriminator": {"warmup_steps": 2}}, "leaves the student none of the warm-up's 2 steps"),
        ({"trl": {"mask_truncated_completions": True}}, "does not go with method"),
        ({"trl": {"fp16": True}}, 'trl.fp16 does not go with method = "gad"'),
        ({"trl": {"top_p": 0.9}}, 'trl.top_p is read by gad.rollouts = "vllm" only'),
        ({"trl": {"max_completion_length": 9}}, "trl.max_completion_length is set by gad.max_new_tokens"),
        ({"trl": {"num_iterations": 2}}, "trl.num_iterations is set by"),
        ({"discriminator": {"init_from": "nowhere.safetensors"}}, "there is no file nowhere.safetensors"),
        ({"adapter": "nowhere"}, "adapter nowhere has no adapter_config.json"),
        ({"gad": {"rollouts": "vllm"}}, "pip install vllm"),
        ({"trl": {"vllm_mode": "colocate"}}, 'trl.vllm_mode is read by gad.rollouts = "vllm" only'),
        ({"trl": {"data_seed": 3}}, "trl.data_seed does not go with method"),
        ({"trl": {"save_only_model": True}}, "checkpoints that no run can go on at"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(make, tmp_path, sections, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        run.run(make(**sections), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()  # to be put right, and run there


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"learning_rate": 0.0}}, "train.learning_rate is 0.0, not above 0"),
        ({"train": {"learning_rate": -1.0}}, "train.learning_rate is -1.0, not above 0"),
        ({"gad": {"stages": ["gad"]}, "discriminator": {"frozen": True}}, "or it knows nothing"),
    ],
)
def test_a_config_that_could_not_learn_is_refused(make, sections, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(**sections)


@pytest.mark.trls_head
def test_a_student_that_bends_its_logits_is_sampled_at_temperature_one_or_not_at_all(build, monkeypatch):
    load = models.load_policy

    def capped(*given):
        policy = load(*given)
        policy.get_base_model().config.final_logit_softcapping = 30.0
        return policy

    monkeypatch.setattr(models, "load_policy", capped)
    with pytest.raises(ConfigError, match=r"set gad\.temperature = 1\.0"):
        build()
    build(gad={"temperature": 1.0})


def test_an_evaluation_that_fails_is_mended_and_made_up_for(make, tmp_path):
    good, folder = """sh -c "echo '{\\"score\\": 1}' # {answers}" """, tmp_path / "run"
    with pytest.raises(CheckpointError, match="mend it and run again"):
        run.run(make(gad={"evaluation": "false {answers}"}), folder)
    assert (folder / "checkpoints" / "checkpoint-1").is_dir()
    run.run(make(gad={"evaluation": good}), folder)
    assert [row["step"] for row in held_out.measured(folder)] == [1, 2, 3, 4]
    run.run(make(gad={"evaluation": good}), tmp_path / "whole")
    assert (folder / "held_out.jsonl").read_text() == (tmp_path / "whole" / "held_out.jsonl").read_text()


def test_prompts_in_several_rows_are_counted_as_they_are_held_out(make, rows_file, tmp_path):
    rows_file.write_text(rows_file.read_text() * 2)
    config = make()
    manifest = run.run(config, tmp_path / "run")
    assert (manifest["rows"]["held_out"], manifest["rows"]["trained"]) == (10, 8)
    assert plan.plan(config)["steps"] == manifest["training"]["step"] == 8


def test_an_evaluation_of_ones_own_chooses_the_checkpoint(make, tmp_path):
    script = tmp_path / "judge.py"
    script.write_text(
        "import json, sys\nrows = [json.loads(line) for line in open(sys.argv[1])]\n"
        "assert {'prompt', 'response', 'reference'} == rows[0].keys()\n"
        "print(json.dumps({'score': {'1': 1, '2': 7, '3': 2, '4': 3}[sys.argv[1].split('-')[-1][0]]}))\n"
    )
    manifest = run.run(make(gad={"evaluation": f"python {script} {{answers}}"}), tmp_path / "run")
    assert (manifest["held_out"]["step"], manifest["held_out"]["score"]) == (2, 7.0)
    best, last = (tmp_path / "run" / name / "adapter_model.safetensors" for name in ("adapter", "last"))
    assert best.read_bytes() != last.read_bytes()


def test_soda_prefers_the_teacher_to_what_the_student_said_before_it_was_trained(make, tmp_path, tokenizer):
    config = make(method="dpo", dpo={"config": "gad"})
    manifest = run.run(config, tmp_path / "run")
    snapshot = (tmp_path / "run" / "snapshot-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in snapshot] == list(range(14))
    assert manifest["margins"]["count"] == 14
    assert manifest["margins"]["mean"] > 0
    _, _, examples = methods.of(config).prepare()
    policy = models.load_policy(config.model, "", config.lora, config.seed)
    (tmp_path / "run" / "snapshot-0.jsonl").write_text("\n".join(snapshot[:3]) + "\n" + snapshot[3][:9])
    again = soda.pairs(config, policy, tokenizer, examples, tmp_path / "run")
    assert [each.completions[0] for each in again] == [gad_ids(tokenizer, each) for each in again]
    assert len((tmp_path / "run" / "snapshot-0.jsonl").read_text().splitlines()) == 14


def gad_ids(tokenizer, example):
    prompt = [{"role": "user", "content": example.row["prompt"]}]
    reply = replies.cut(tokenizer, prompt, Reply(example.row["teacher_response"], True), 8)
    return replies.encode(tokenizer, prompt, [reply])[1][0]


def test_a_plan_counts_the_steps_of_both_stages_and_the_tokens_of_all_samples(make):
    planned = plan.plan(make())
    assert planned["steps"] == 4
    assert planned["rows"]["held_out"] == 10
    more = plan.plan(make(gad={"samples": 6}))
    assert more["memory_bytes"]["activations"] > planned["memory_bytes"]["activations"]


def test_an_architecture_that_ignores_the_mask_is_trained_without_sharing(build, monkeypatch, capsys):
    monkeypatch.setattr("advtrain.forward.prefix._TOLERANCE", {torch.float32: -1.0})
    trainer = build()
    assert "encoded once for each completion" in capsys.readouterr().err
    assert not trainer.discriminator.shares
    assert not trainer.shares
    batch = [row for row in trainer.train_dataset for _ in range(3)][:6]
    trainer.state.global_step = trainer.warm_steps
    torch.manual_seed(0)
    apart = trainer.discriminator.score_and_step(groups(trainer, batch), False)
    trainer.discriminator.shares = True
    shared = trainer.discriminator.score_and_step(groups(trainer, batch), False)
    torch.testing.assert_close(apart.student_BN, shared.student_BN, atol=1e-5, rtol=0)


def test_sharing_is_tried_on_the_longest_prompt_with_replies_as_long_as_they_may_be(
    build, rows_file, monkeypatch
):
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    rows[0]["prompt"] = "Say " + "a " * 40
    rows[1]["teacher_response"] = "It is " + "b " * 90
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    real, seen = prefix.takes_masks, []

    def watched(base, prompt, completions):
        seen.append((len(prompt), [len(each) for each in completions]))
        return real(base, prompt, completions)

    monkeypatch.setattr(prefix, "takes_masks", watched)
    trainer = build()
    prompts = [len(pair.student.prompt) for pair in [*trainer.pairs, *trainer.held.pairs]]
    assert seen == [(max(prompts), [8, 8])]


def groups(trainer, batch):
    """Two samples beside the teacher's reply."""
    samples = [Reply("no", False), Reply("yes", True)]
    return [trainer.grouped(trainer.pairs[row["pair"]], samples) for row in batch[::3]]


def test_the_defaults_are_the_papers():
    assert (Gad().samples, Gad().temperature, Gad().beta) == (8, 0.8, 0.001)


def steps(**changes):
    calm = {
        "discriminator/accuracy": 0.8, "length/longer": 0.5, "length/student": 100.0, "length/teacher": 110.0,
        "discriminator/spread": 0.5, "completions/clipped_ratio": 0.1,
    }  # fmt: skip
    return [{"step": at, **calm, **changes} for at in range(30)]


@pytest.mark.parametrize(
    ("changes", "name", "number"),
    [
        ({"discriminator/accuracy": 0.97}, "accuracy", "97%"),
        ({"length/student": 300.0}, "length", "300 tokens, the teacher's 110"),
        ({"discriminator/spread": 0.001}, "collapse", "0.0010"),
        ({"completions/clipped_ratio": 0.9}, "clipped", "90% of the samples"),
        ({"length/longer": 0.1, "discriminator/accuracy": 0.9}, "by_length", "90% apart"),
    ],
)
def test_an_alarm_names_its_number(changes, name, number):
    assert alarms.active(steps()) == {}
    found = alarms.active(steps(**changes))
    assert list(found) == [name]
    assert number in found[name]


def test_an_alarm_rings_once_while_it_lasts_and_again_when_it_comes_back():
    seen = alarms.Alarms()
    lines = [line for step in steps(**{"length/student": 300.0}) for line in seen.see(step)]
    assert len(lines) == 1
    assert lines[0].startswith("step 19: ")
    assert [line for step in steps() for line in seen.see(step)] == []
    assert len([line for step in steps(**{"length/student": 900.0}) for line in seen.see(step)]) == 1


def test_a_prompt_is_held_out_as_a_whole():
    rows = [{"prompt": [{"role": "user", "content": str(at % 5)}], "row": at} for at in range(15)]
    train, held = held_out.split(rows, [row["prompt"] for row in rows], 2, seed=0)
    prompts = [{row["prompt"][0]["content"] for row in part} for part in (train, held)]
    assert len(held) == len(prompts[1]) == 2
    assert len(train) == 9
    assert not prompts[0] & prompts[1]


def test_a_row_whose_prompt_is_too_long_ends_no_run(make, rows_file, tmp_path):
    with open(rows_file, "a") as file:
        file.write(json.dumps({"prompt": "Say it. " * 400, "teacher_response": "so"}) + "\n")
    manifest = run.run(make(max_length=256), tmp_path / "run")
    assert manifest["rows"]["dropped"] == 1


def test_a_teacher_that_says_nothing_is_named(make, rows_file, tmp_path):
    with open(rows_file, "a") as file:
        file.write(json.dumps({"prompt": "Say it.", "teacher_response": " "}) + "\n")
    with pytest.raises(DataError, match="teacher_response is 1 messages or empty"):
        run.run(make(), tmp_path / "run")


def test_a_discriminator_that_diverges_ends_the_run(make, tmp_path):
    with pytest.raises(CheckpointError, match="the discriminator's loss is no number"):
        run.run(make(discriminator={"learning_rate": 1e30}), tmp_path / "run")


def test_what_was_best_at_a_checkpoint_stays_while_the_run_may_go_on_there(tmp_path):
    held = held_out.HeldOut(tmp_path, [], "")
    for step in (1, 2, 3, 4):
        held.adapter(step).mkdir(parents=True)
    for step in (2, 3):
        (tmp_path / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    scores = {1: 5, 2: 1, 3: 9, 4: 2}
    (tmp_path / "held_out.jsonl").write_text(
        "".join(json.dumps({"step": step, "score": score}) + "\n" for step, score in scores.items())
    )
    held.prune()
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["step-1", "step-3"]

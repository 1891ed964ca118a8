"""The reference's log-probabilities are worked out once, and the rows of a step are sorted without leaving it."""

import json
import operator
import random

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler

from advcore import settings
from advtrain import encoding, models
from advtrain.config import Lora, RunConfig
from advtrain.forward import logps, packing
from advtrain.loop import order
from advtrain.methods import dpo

TRAIN = {"batch_size": 2, "learning_rate": 1e-3}


def example(number, prompt=4, chosen=3, rejected=3):
    ids = [3 + (number * 31 + at) % 290 for at in range(prompt + chosen + rejected)]
    return encoding.Example(
        exercise_id=str(number), prompt=ids[:prompt], truncated=False, dropped=False,
        completions=(ids[prompt : prompt + chosen], ids[prompt + chosen :]),
    )  # fmt: skip


@pytest.fixture
def build(tiny, tmp_path):
    """A function that gives a trainer over `examples`, with the forward passes of its backbone counted."""

    def make(examples, adapter=False, **values):
        config = settings.build(
            RunConfig,
            {"method": "dpo", "dataset": "none", "model": tiny, "trl": {"save_strategy": "no"}, **values},
        )
        policy = models.load_policy(tiny, "", Lora(), seed=0)
        trainer = dpo.Dpo(config).build(policy, models.load_tokenizer(tiny), examples, tmp_path)
        trainer.passes = []
        policy.get_base_model().base_model.register_forward_pre_hook(
            lambda _module, _args, inputs: trainer.passes.append(inputs["input_ids"].shape), with_kwargs=True
        )
        return trainer

    return make


def test_a_pair_is_scored_once_for_all_runs_on_the_same_reference(build):
    examples = [example(number) for number in range(3)]
    first = build(examples)
    known = logps.reference_logps(first, examples, "a reference")
    assert len(first.passes) == 1
    assert set(known) == {logps.key(each) for each in examples}
    later = build([*examples, example(9)])
    again = logps.reference_logps(later, [*examples, example(9)], "a reference")
    assert later.passes == [(1, 10)]  # the new one alone
    assert all(again[key] == pair for key, pair in known.items())
    other = build(examples)
    logps.reference_logps(other, examples, "another reference")
    assert len(other.passes) == 1


def test_another_precision_is_another_number(build):
    examples = [example(number) for number in range(3)]
    trainer = build(examples)
    trainer.model.bfloat16()
    rough = logps.reference_logps(trainer, examples, "a reference")
    trainer.model.float()
    fine = logps.reference_logps(trainer, examples, "a reference")
    assert len(trainer.passes) == 2
    assert rough != fine
    assert all(rough[key] == pytest.approx(pair, rel=0.02) for key, pair in fine.items())


def test_a_line_that_was_cut_short_is_scored_again(build):
    examples = [example(number) for number in range(3)]
    trainer = build(examples)
    whole = logps.reference_logps(trainer, examples, "a reference")
    (file,) = (logps.weights.home() / "reference").iterdir()
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:30], json.dumps({"key": "x"}), "[]", ""]))
    again = logps.reference_logps(trainer, examples, "a reference")
    assert all(again[key] == pytest.approx(pair) for key, pair in whole.items())
    assert len(trainer.passes) == 2


def test_training_forwards_the_reference_at_no_step(build):
    examples = [example(number) for number in range(4)]
    trainer = build(examples, train={**TRAIN, "epochs": 2.0})
    dpo.with_reference(trainer, examples, "a reference")
    before = len(trainer.passes)
    trainer.train()
    assert len(trainer.passes) - before == 4  # two steps, twice, the policy alone


def test_tokens_that_are_weighted_one_by_one_take_trls_own_reference(build):
    examples = [example(number, chosen=5, rejected=2) for number in range(4)]
    trainer = build(examples, trl={"ld_alpha": 0.5, "save_strategy": "no"}, train=TRAIN)
    dpo.with_reference(trainer, examples, "a reference")
    assert not trainer.precompute_ref_logps
    assert trainer.passes == []
    trainer.train()
    assert len(trainer.passes) == 4  # of two steps, policy and reference


def test_a_forward_pass_without_gradients_stays_within_its_budget():
    tokens = operator.attrgetter("tokens")
    examples = [example(number, prompt=number) for number in range(100, 1000, 30)]
    found = list(packing.batches(examples, tokens))
    assert sorted(each.exercise_id for batch in found for each in batch) == sorted(
        e.exercise_id for e in examples
    )
    assert all(len(batch) * max(e.tokens for e in batch) <= packing.BATCH_TOKENS for batch in found)
    assert [len(batch) for batch in packing.batches([example(1, prompt=5000), example(2)], tokens)] == [1, 1]


def test_the_rows_of_a_step_stay_its_own_and_come_longest_first():
    lengths = random.Random(0).choices(range(10, 500), k=23)
    rows = list(range(23))
    drawn = list(SeedableRandomSampler(rows, data_seed=5))
    ours = list(order.StepSorted(SeedableRandomSampler(rows, data_seed=5), lengths, batch=2, step=8))
    for start in (0, 8, 16):
        assert sorted(ours[start : start + 8]) == sorted(drawn[start : start + 8])
    for start in (0, 8):
        step = [lengths[row] for row in ours[start : start + 8]]
        assert step == sorted(step, reverse=True)
    assert ours[-1] == drawn[-1]  # a batch of one weighs as much as one of two: its row stays in it


def test_epochs_are_drawn_anew_and_the_same_again(build):
    examples = [example(number, prompt=3 + number) for number in range(12)]
    trainer = build(examples, train={"batch_size": 2, "gradient_accumulation": 3})
    sampler = trainer._get_train_sampler()
    first = list(sampler)
    trainer.state.epoch = 1.5  # in the second
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second == list(sampler)
    trainer.state.epoch = 0.25
    assert list(sampler) == first


def test_rows_that_do_not_move_are_drawn_as_trl_draws_them(build, monkeypatch):
    def drawn():
        trainer = build([example(number, prompt=3 + number) for number in range(12)], **joint)
        return [batch["input_ids"].tolist() for batch in trainer.get_train_dataloader()]

    joint = {"dpo": {"loss_type": ["sft"]}, "train": {"batch_size": 1}}
    ours = drawn()
    monkeypatch.delattr(dpo.PairTrainer, "_get_train_sampler")
    assert ours == drawn()


@pytest.mark.parametrize(
    ("options", "whose"),
    [
        ({"dpo": {"loss_type": ["sigmoid", "sft"]}}, order.EpochSeeded),
        ({"trl": {"train_sampling_strategy": "sequential"}}, torch.utils.data.SequentialSampler),
        ({}, order.StepSorted),
    ],
)
def test_pairs_move_only_where_the_loss_does_not_see_their_neighbours(build, options, whose):
    assert type(build([example(1), example(2)], **options)._get_train_sampler()) is whose

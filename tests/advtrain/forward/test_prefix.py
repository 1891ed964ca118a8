"""Each prompt once: the same numbers as with a forward pass for every sequence, and as TRL's own trainer."""

import dataclasses
import itertools
import json
import random
import shutil

import datasets
import pytest
import trl.trainer
from torch.nn import functional

from advcore import DataError, settings
from advcore.engine import loading
from advtrain import encoding, models, patches
from advtrain.config import Lora, RunConfig
from advtrain.forward import adapters, logps, prefix
from advtrain.methods import dpo, sft
from advtrain.methods.dpo import Dpo
from advtrain.methods.sft import Sft

torch = pytest.importorskip("torch")


def ids(length, rng):
    return [rng.randrange(3, 300) for _ in range(length)]


@pytest.fixture(scope="module")
def examples():
    """Twenty-four pairs of unlike lengths, one with a completion of a single token."""
    rng = random.Random(0)
    lengths = [(rng.randint(2, 40), rng.randint(1, 30), rng.randint(1, 30)) for _ in range(23)] + [(3, 1, 25)]
    return [
        encoding.Example(
            exercise_id=str(number), prompt=ids(prompt, rng), completions=(ids(chosen, rng), ids(rejected, rng)),
            truncated=False, dropped=False,
        )
        for number, (prompt, chosen, rejected) in enumerate(lengths)
    ]  # fmt: skip


def test_a_batch_is_laid_out_by_hand():
    """Pair 0: prompt 1 2, chosen 3 4, rejected 5. Pair 1: prompt 6, chosen 7, rejected 8 9."""
    input_ids = torch.tensor([[1, 2, 3, 4], [6, 7, 0, 0], [1, 2, 5, 0], [6, 8, 9, 0]])
    labels = torch.tensor(
        [[-100, -100, 3, 4], [-100, 7, -100, -100], [-100, -100, 5, -100], [-100, 8, 9, -100]]
    )
    inputs, (rows, columns) = prefix.share(input_ids, (input_ids > 0).long(), labels)
    assert inputs["input_ids"][0].tolist() == [1, 2, 3, 4, 5]
    assert inputs["input_ids"][1, :4].tolist() == [6, 7, 8, 9]
    assert inputs["position_ids"][0].tolist() == [0, 1, 2, 3, 2]
    assert inputs["position_ids"][1, :4].tolist() == [0, 1, 1, 2]
    assert inputs["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1],
    ]  # fmt: skip
    # predicted in this order: 3 by 2, 4 by 3; 7 by 6; 5 by 2; 8 by 6, 9 by 8
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (0, 1), (0, 2), (1, 0), (0, 1), (1, 0), (1, 2),
    ]  # fmt: skip


def collated(examples):
    collate = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)
    inputs = collate([logps.columns(example) for example in examples])
    mask = inputs.pop("completion_mask")
    return {**inputs, "labels": inputs["input_ids"].masked_fill(mask == 0, -100)}


def scored(model, inputs):
    output = model(**inputs, fused_lm_head=True)
    (
        output.log_probs * torch.linspace(0.5, 1.5, output.log_probs.numel()).view_as(output.log_probs)
    ).sum().backward()
    return output, model.model.layers[0].mlp.up_proj.weight.grad


@pytest.mark.trls_head
@pytest.mark.parametrize("frozen", [True, False])  # by our head, and through TRL's
def test_log_probabilities_and_gradients_are_those_of_separate_passes(tiny, examples, frozen):
    results = []
    for arrange in (None, prefix.share):
        model = models.load_base(tiny).float()
        model.get_output_embeddings().requires_grad_(not frozen)
        trl.trainer.add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        if arrange:
            patches.score_selected(model, arrange)
        results.append(scored(model, collated(examples)))
    (plain, plain_grad), (ours, our_grad) = results
    for name in ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(our_grad, plain_grad)


@pytest.mark.trls_head
def test_each_prompt_is_forwarded_once(tiny, examples):
    model = models.load_base(tiny)
    trl.trainer.add_fused_lm_head(model)
    patches.score_selected(model, prefix.share)
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    model(**collated(examples), fused_lm_head=True)
    assert seen == [(len(examples), max(example.tokens for example in examples))]


class Attended(torch.overrides.TorchFunctionMode):
    """Counts the pairs of positions that attention goes through."""

    pairs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.pairs += args[0].shape[0] * args[0].shape[2] * args[1].shape[2]
        return func(*args, **(kwargs or {}))


def test_attention_does_not_compute_what_the_mask_hides(tiny):
    """Eight completions of 30 tokens behind a prompt of 40: one row has 280^2 pairs, rows apart have 8 * 70^2."""
    model = models.load_base(tiny)
    sequences = torch.tensor([ids(70, random.Random(0))] * 8)
    shared = prefix.rows(
        sequences, torch.ones_like(sequences), torch.full((8,), 40), torch.arange(8).view(1, 8)
    )
    with Attended() as attended:
        model.base_model(**shared.inputs, use_cache=False)
    assert attended.pairs == model.config.num_hidden_layers * (40**2 + 8 * 30 * 70)


@pytest.fixture
def float32(monkeypatch):
    """Whatever this machine would hold weights in."""
    monkeypatch.setattr(loading, "precision", lambda: (torch.float32, "to compare digits"))


@pytest.fixture
def run_config(tiny, float32):
    def make(**values):
        train = {"learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation": 2, "epochs": 3.5}
        return settings.build(
            RunConfig, {"method": "dpo", "dataset": "none", "model": tiny, "train": train, **values}
        )

    return make


class Plain(trl.DPOTrainer):
    """TRL's own in all but the reading of text."""

    def _prepare_dataset(self, dataset, *_args):
        return dataset


def losses_of(trainer):
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.trls_head
@pytest.mark.parametrize("kinds", [["sigmoid"], ["ipo"], ["sigmoid", "sft"], ["robust"], ["aot"]])
def test_the_loss_is_that_of_trls_own_trainer_for_twenty_steps(run_config, examples, tmp_path, kinds):
    config = run_config(
        dpo={"loss_type": kinds, "label_smoothing": 0.1 if kinds == ["robust"] else 0.0},
        trl={"logging_steps": 1, "save_strategy": "no"},
    )
    tokenizer = models.load_tokenizer(config.model)

    def policy():
        return models.load_policy(config.model, "", Lora(), seed=0)

    plain = Plain(
        model=policy(), args=Dpo(config).options(tmp_path / "trl"), processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list([logps.columns(example) for example in examples]),
    )  # fmt: skip
    adapters.set_reference(plain.model, "")
    ours = Dpo(config).build(policy(), tokenizer, examples, tmp_path / "ours")
    dpo.with_reference(ours, examples, f"tiny {tmp_path}")
    theirs, mine = losses_of(plain), losses_of(ours)
    assert len(mine) >= 20
    assert abs(mine[0] - mine[-1]) > 1e-3  # something was learnt, or being equal says nothing
    assert mine == pytest.approx(theirs, abs=1e-4)


def test_smoothing_row_by_row_is_conservative_dpo_and_moves_less_the_less_a_pair_is_trusted(
    run_config, examples, tmp_path
):
    config = run_config(dpo={"smoothing": "rows"})
    rows = [
        dataclasses.replace(each, row={**each.row, "p_true": p_true})
        for each, p_true in zip(examples, itertools.cycle([1.0, 0.75, 0.5, 0.1, 0]), strict=False)
    ]
    policy = models.load_policy(config.model, "", Lora(), seed=0)
    trainer = Dpo(config).build(policy, models.load_tokenizer(config.model), rows, tmp_path)
    dpo.with_reference(trainer, rows, f"smoothed {tmp_path}")
    batch = next(iter(trainer.get_train_dataloader()))
    kept = {key: batch[key].clone() for key in ("ref_chosen_logps", "ref_rejected_logps")}
    s_B, shift_B = (
        batch["smoothing"].clone(),
        torch.tensor([-30.0, 0.0, 5.0, 40.0])[: len(batch["smoothing"])],
    )

    def loss(shift_B):
        """Of the batch with its margins moved by beta * shift."""
        moved = {**batch, "smoothing": s_B, "ref_chosen_logps": kept["ref_chosen_logps"] - shift_B}
        return trainer.compute_loss(trainer.model, moved)

    trainer.model.eval()
    with torch.no_grad():
        policy_margin = torch.zeros_like(s_B)  # the policy is the reference at the start
        for shift in (shift_B, -shift_B):
            x_B = config.dpo.beta * (policy_margin + shift)
            each_B = -(1 - s_B) * functional.logsigmoid(x_B) - s_B * functional.logsigmoid(-x_B)
            assert loss(shift).item() == pytest.approx(each_B.mean().item(), abs=1e-3)
    shares = sorted(set(s_B.tolist()))
    assert len(shares) > 1
    for s in shares:  # the slope at no margin is -p_true / 2
        x = torch.zeros((), requires_grad=True)
        (-(1 - s) * functional.logsigmoid(x) - s * functional.logsigmoid(-x)).backward()
        assert x.grad.item() == pytest.approx(-(1 - 2 * s) / 2, abs=1e-5)


def test_smoothing_by_rows_without_p_true_is_refused(run_config, examples, tmp_path):
    config = run_config(dpo={"smoothing": "rows"})
    policy = models.load_policy(config.model, "", Lora(), seed=0)
    with pytest.raises(DataError, match="has no p_true"):
        Dpo(config).build(policy, models.load_tokenizer(config.model), examples, tmp_path)


class PlainSft(trl.SFTTrainer):
    """TRL's own, without its card."""

    def create_model_card(self, *_args, **_options):
        return


@pytest.mark.trls_head
def test_sft_comes_to_the_loss_of_trls_own_trainer(run_config, examples, tmp_path):
    config = run_config(method="sft", trl={"logging_steps": 1, "save_strategy": "no"})
    completions = [dataclasses.replace(each, completions=each.completions[:1]) for each in examples]
    tokenizer = models.load_tokenizer(config.model)
    plain = PlainSft(
        model=models.load_policy(config.model, "", Lora(), seed=0), args=Sft(config).options(tmp_path / "trl"),
        train_dataset=datasets.Dataset.from_list([sft.columns(each) for each in completions]),
        processing_class=tokenizer,
    )  # fmt: skip
    ours = Sft(config).build(
        models.load_policy(config.model, "", Lora(), seed=0),
        tokenizer,
        completions,
        tmp_path / "ours",
    )
    theirs, mine = losses_of(plain), losses_of(ours)
    assert len(mine) >= 20
    assert abs(mine[0] - mine[-1]) > 1e-3
    assert mine == pytest.approx(theirs, abs=1e-4)


def windowed(tiny, folder, window):
    """The tiny model's folder with a sliding window in every layer."""
    shutil.copytree(tiny, folder)
    file = folder / "config.json"
    shape = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 0}
    layers = ["sliding_attention"] * 2
    file.write_text(json.dumps(json.loads(file.read_text()) | shape | {"layer_types": layers}))
    return str(folder)


@pytest.mark.parametrize(("window", "shared"), [(40, False), (128, True)])
def test_a_sliding_window_counts_where_the_longest_pair_does_not_fit_into_it(
    run_config, tiny, examples, tmp_path, capsys, window, shared
):
    model = windowed(tiny, tmp_path / "model", window)
    config = run_config(model=model, trl={"save_strategy": "no"})
    policy = models.load_policy(model, "", Lora(), seed=0)
    Dpo(config).build(policy, models.load_tokenizer(model), examples, tmp_path)
    assert ("does not take a mask of ours" not in capsys.readouterr().err) == shared


def test_an_architecture_that_does_not_obey_the_mask_is_trained_the_long_way(
    run_config, examples, tmp_path, capsys
):
    config = run_config(trl={"save_strategy": "no"})
    policy = models.load_policy(config.model, "", Lora(), seed=0)
    backbone = policy.get_base_model().base_model

    def forgetful(_module, _args, inputs):
        mask = inputs.get("attention_mask")
        return _args, {**inputs, "attention_mask": None if mask is None or mask.dim() == 4 else mask}

    backbone.register_forward_pre_hook(forgetful, with_kwargs=True)
    trainer = Dpo(config).build(policy, models.load_tokenizer(config.model), examples, tmp_path)
    assert "does not take a mask of ours" in capsys.readouterr().err
    found = logps.token_logps(trainer, trainer.model, examples[:3])
    assert found.shape == (6, max(example.length for example in examples[:3]) - 1)
    alone = logps.token_logps(trainer, trainer.model, examples[:1])
    torch.testing.assert_close(found[0, : alone.shape[1]], alone[0])

"""Sampling in place: what transformers' own `generate` gives, with less work."""

import copy

import pytest

from advtrain import CheckpointError, models
from advtrain.forward import rollout

torch = pytest.importorskip("torch")
PROMPTS = [[5, 6, 7, 8, 9], [11], [20, 21, 22]]


@pytest.fixture(scope="module")
def model(tiny):
    return models.load_base(tiny).float()


def generated(model, prompt, most, stop):
    """The likeliest reply to one prompt, without padding."""
    ids = torch.tensor([prompt])
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False,
        eos_token_id=stop, pad_token_id=0,
    )  # fmt: skip
    return whole[0, len(prompt) :].tolist()


def test_the_likeliest_replies_are_those_of_generate_whatever_they_are_batched_with(model):
    stop = [generated(model, PROMPTS[0], 12, [9999])[3]]  # so that the first ends early and leaves the batch
    expected = [generated(model, prompt, 12, stop) for prompt in PROMPTS]
    assert len(expected[0]) <= 4 < max(map(len, expected))
    assert rollout.sample(model, PROMPTS, 1, 0.0, 12, stop) == expected


def test_each_prompt_is_read_once_and_ended_replies_leave_the_batch(model):
    seen = []
    hook = model.base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: seen.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    torch.manual_seed(0)
    replies = rollout.sample(model, PROMPTS, 8, 1.0, 3, range(200))  # half of the vocabulary ends a reply
    hook.remove()
    ended = sum(len(reply) == 1 for reply in replies)
    assert ended > 24 / 4
    assert seen[:2] == [(3, 5), (24 - ended, 1)]


def test_samples_follow_the_distribution_at_the_temperature(model):
    torch.manual_seed(0)
    samples = rollout.sample(model, [PROMPTS[0]], 4000, 0.5, 1, [9999])
    counts = torch.bincount(torch.tensor(samples)[:, 0], minlength=model.config.vocab_size)
    logits = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].float() / 0.5
    probability = logits.softmax(0)
    likely = probability.argsort(descending=True)[:20]
    deviation = (4000 * probability * (1 - probability)).sqrt()
    assert ((counts - 4000 * probability).abs() < 4 * deviation + 1)[likely].all()


def test_logits_that_are_no_numbers_are_told_and_not_drawn_from(model):
    broken = copy.deepcopy(model)
    torch.nn.init.constant_(broken.get_output_embeddings().weight, torch.nan)
    with pytest.raises(CheckpointError, match=r"a lower train\.learning_rate"):
        rollout.sample(broken, PROMPTS, 1, 0.8, 3, [9999])


def test_a_draw_at_the_very_end_is_the_last_token(model, monkeypatch):
    monkeypatch.setattr(torch, "rand_like", torch.ones_like)
    assert rollout.sample(model, PROMPTS[:1], 1, 1.0, 1, [9999]) == [[model.config.vocab_size - 1]]


def test_the_same_seed_samples_the_same_and_another_does_not(model):
    def drawn(seed):
        torch.manual_seed(seed)
        return rollout.sample(model, PROMPTS, 3, 0.8, 8, [9999])

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_model_is_left_in_the_mode_it_was_in(model):
    model.train()
    rollout.sample(model, PROMPTS, 1, 0.0, 2, [9999])
    assert model.training
    model.eval()


def test_prompts_that_do_not_fit_together_are_sampled_in_turn_and_come_back_in_order(model, monkeypatch):
    expected = rollout.sample(model, PROMPTS, 2, 0.0, 6, [9999])
    monkeypatch.setattr(rollout, "CACHE_TOKENS", 1)
    assert rollout.sample(model, PROMPTS, 2, 0.0, 6, [9999]) == expected


class Ungrouped(torch.overrides.TorchFunctionMode):
    """Counts single tokens whose grouped heads are left to torch, which is many times slower on a CPU."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention and args[0].shape[2] == 1:
            self.count += (kwargs or {}).get("enable_gqa", False)
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there torch's kernel is the fast one")
def test_heads_that_share_keys_are_taken_together_where_no_prompt_is_padded(model):
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    with Ungrouped() as ungrouped:
        rollout.sample(model, PROMPTS[:1], 2, 0.0, 4, [9999])
    assert ungrouped.count == 0

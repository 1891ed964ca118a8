"""The discriminator of GAD: one score for one text, whoever wrote it, and a step that is the one worked out by hand."""

import copy
from types import SimpleNamespace

import pytest

from advcore import ConfigError, chat
from advcore.engine import loading
from advtrain import models, patches
from advtrain.config import Discriminator as Config
from advtrain.config import Lora, RunConfig
from advtrain.encoding import replies
from advtrain.encoding.replies import Reply
from advtrain.forward import adapters
from advtrain.methods import losses
from advtrain.methods.gad.discriminator import Discriminator, Group

torch = pytest.importorskip("torch")
PROMPT = [{"role": "user", "content": "Say hello."}]
TEACHER, STUDENTS = [40, 41, 42, 43], [[50, 51], [60, 61, 62, 63, 64, 65], [70]]
GROUP = Group([5, 6, 7], TEACHER, STUDENTS)
OTHER = Group([8, 9], [30, 31], [[32], [33, 34, 35], [36, 37]])


@pytest.fixture
def make(tiny, monkeypatch):
    """A function that makes a discriminator on a new policy."""
    monkeypatch.setattr(loading, "precision", lambda: (torch.float32, "to compare digits"))

    def made(weight_decay=0.0, batch_size=4, **options):
        config = RunConfig(
            method="gad", dataset="none", model=tiny, discriminator=Config(learning_rate=1e-2, **options)
        )
        policy = models.load_policy(tiny, "", Lora(), seed=0)
        model = models.load_discriminator(config, policy)
        return Discriminator(
            model,
            config.discriminator,
            batch_size=batch_size,
            weight_decay=weight_decay,
            max_grad_norm=0.2,
            seed=0,
        )

    return made


def apart(discriminator, prompt, reply):
    """The score of one sequence in a forward pass of its own."""
    with adapters.as_adapter(discriminator.model, adapters.DISCRIMINATOR), torch.no_grad():
        hidden = discriminator.model.get_base_model().base_model(input_ids=torch.tensor([prompt + reply]))
        return discriminator.head(hidden.last_hidden_state[0, -1]).item()


def stirred(discriminator):
    """With an adapter that does something: a new one adds nothing."""
    with torch.no_grad():
        for name, weight in discriminator.weights.items():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return discriminator


def test_a_base_that_an_adapter_was_merged_into_and_out_of_is_what_it_was(tiny, monkeypatch):
    monkeypatch.setattr(loading, "precision", lambda: (torch.bfloat16, "to see rounding"))
    policy = models.load_policy(tiny, "", Lora(), seed=0)

    def stir():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.1)

    def merge():
        stir()
        policy.merge_adapter()
        policy.unmerge_adapter()

    def base():
        return {name: each.clone() for name, each in policy.named_parameters() if "lora_" not in name}

    before = base()
    vllm = SimpleNamespace(sync_weights=merge)
    patches.preserve_base_weights(vllm, policy)
    once = vllm.sync_weights
    patches.preserve_base_weights(vllm, policy)
    assert vllm.sync_weights is once
    vllm.sync_weights()
    assert all(torch.equal(weight, before[name]) for name, weight in base().items())
    merge()
    assert not all(torch.equal(weight, before[name]) for name, weight in base().items())


@pytest.mark.parametrize("text", ["\n\nSo", " so", "so \n", "\n", "\n<|im_end|>"])
def test_what_a_template_would_swallow_of_a_reply_is_read_all_the_same(tokenizer, text):
    trimming, merging = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    trimming.chat_template = trimming.chat_template.replace("message['content']", "message['content'] | trim")
    assert trimming.chat_template != tokenizer.chat_template
    merging.add_tokens(["assistant\n\n", "assistant\n ", "\n\n"])
    for each in (trimming, merging):
        start, (ids,) = replies.encode(each, PROMPT, [Reply(text, True)])
        assert start == chat.prompt_ids(each, PROMPT)
        assert each.decode(ids[:-1]) == text
        assert ids.count(each.eos_token_id) == 1


def test_scores_are_those_of_a_forward_pass_for_every_sequence(make):
    discriminator = stirred(make())
    scores = discriminator.score_and_step([GROUP, OTHER], learn=False)
    for at, group in enumerate((GROUP, OTHER)):
        assert scores.teacher_B[at].item() == pytest.approx(
            apart(discriminator, group.prompt, group.teacher), abs=1e-5
        )
        for score, ids in zip(scores.student_BN[at].tolist(), group.samples, strict=True):
            assert score == pytest.approx(apart(discriminator, group.prompt, ids), abs=1e-5)


def test_the_same_text_scores_the_same_on_both_paths(make, tokenizer):
    discriminator = stirred(make())
    reply = Reply("def f(x):\n    return x", finished=True)
    prompt, (teacher, first, second) = replies.encode(tokenizer, PROMPT, [reply] * 3)
    scores = discriminator.score_and_step([Group(prompt, teacher, [first, second])], learn=False)
    torch.testing.assert_close(scores.student_BN[0], scores.teacher_B.expand(2), atol=1e-5, rtol=0)


def test_the_prompt_and_the_teachers_reply_go_through_the_model_once(make):
    discriminator, positions = make(), []
    discriminator.model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _args, inputs: positions.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    discriminator.score_and_step([GROUP], learn=True)
    assert positions == [3 + 4 + 2 + 6 + 1]


def test_a_model_that_takes_no_mask_of_ours_scores_the_same_apart(make):
    discriminator = stirred(make())
    shared = discriminator.score_and_step([GROUP, OTHER], learn=False)
    discriminator.shares = False
    apart_ = discriminator.score_and_step([GROUP, OTHER], learn=False)
    torch.testing.assert_close(apart_.student_BN, shared.student_BN, atol=1e-5, rtol=0)


def test_a_finished_reply_and_one_that_was_cut_differ_by_the_end_of_the_turn(tokenizer):
    _, (finished, cut) = replies.encode(tokenizer, PROMPT, [Reply("so", True), Reply("so", False)])
    assert finished == [*cut, tokenizer.eos_token_id]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_reply_is_cut_at_so_many_tokens_and_then_has_no_end(tokenizer):
    long = Reply(" ".join(["word"] * 50), True)
    short = replies.cut(tokenizer, PROMPT, long, 8)
    _, (ids, whole) = replies.encode(tokenizer, PROMPT, [short, long])
    assert ids == whole[:8]
    assert not short.finished
    assert replies.cut(tokenizer, PROMPT, long, len(whole)) == long


def test_half_a_character_is_on_neither_side(tokenizer):
    _, (ids,) = replies.encode(tokenizer, PROMPT, [Reply("日本語", True)])
    for most in range(1, len(ids)):
        student = replies.decode(tokenizer, ids[:most], {tokenizer.eos_token_id})
        assert student == replies.cut(tokenizer, PROMPT, Reply("日本語", True), most)
        assert "\N{REPLACEMENT CHARACTER}" not in student.text


def test_an_empty_reply_has_the_score_of_its_prompt_and_not_of_its_neighbour(make):
    discriminator = stirred(make())
    scores = discriminator.score_and_step([Group([5, 6, 7], TEACHER, [[], [50, 51]])], learn=False)
    assert scores.student_BN[0, 0].item() == pytest.approx(apart(discriminator, [5, 6, 7], []), abs=1e-5)


def test_text_that_spells_a_control_token_stays_text(tokenizer):
    _, (ids,) = replies.encode(tokenizer, PROMPT, [Reply("<|im_end|> and on", True)])
    assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(ids[:-1]) == "<|im_end|> and on"


def test_rewards_are_the_scores_before_the_step_that_learns_from_them(make):
    discriminator = make()
    before = discriminator.score_and_step([GROUP, OTHER], learn=False)
    learnt = discriminator.score_and_step([GROUP, OTHER], learn=True)
    after = discriminator.score_and_step([GROUP, OTHER], learn=False)
    torch.testing.assert_close(learnt.student_BN, before.student_BN, atol=1e-6, rtol=0)
    assert learnt.loss == pytest.approx(before.loss, abs=1e-6)
    assert after.loss < before.loss


def test_the_loss_is_the_mean_over_prompts_of_what_the_pure_function_gives(make):
    scores = make().score_and_step([GROUP, OTHER], learn=False)
    expected = losses.bradley_terry(scores.teacher_B, scores.student_BN).mean().item()
    assert scores.loss == pytest.approx(expected, abs=1e-6)


def test_a_norm_of_zero_clips_nothing(make):
    unclipped, discriminator = make(), make()
    unclipped.max_grad_norm, discriminator.max_grad_norm = 1e9, 0.0
    for each in (unclipped, discriminator):
        each.score_and_step([GROUP], learn=True)
    for name, weight in discriminator.state()["weights"].items():
        torch.testing.assert_close(weight, unclipped.state()["weights"][name])


def test_how_groups_are_batched_changes_no_step(make):
    weights, passes = [], []
    for batch_size in (2, 1):
        discriminator = make(batch_size=batch_size)
        backbone = discriminator.model.get_base_model().base_model
        backbone.register_forward_pre_hook(lambda *_, size=batch_size: passes.append(size))
        for _ in range(3):
            discriminator.score_and_step([GROUP, OTHER], learn=True)
        weights.append(discriminator.state()["weights"])
    assert passes == [2] * 3 + [1] * 6
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-4, rtol=1e-3)


def test_only_the_discriminators_weights_learn_and_none_keeps_a_gradient(make):
    discriminator = make()
    before = {name: weight.clone() for name, weight in discriminator.model.named_parameters()}
    discriminator.score_and_step([GROUP], learn=True)
    changed = {
        name
        for name, weight in discriminator.model.named_parameters()
        if not torch.equal(weight, before[name])
    }
    assert changed
    assert all(f".{adapters.DISCRIMINATOR}." in name for name in changed)
    assert all(weight.grad is None for weight in discriminator.model.parameters())
    trained = {name for name, weight in discriminator.model.named_parameters() if weight.requires_grad}
    assert all(f".{adapters.POLICY}." in name for name in trained)


def test_clamp_and_length_debias_change_the_reward_by_hand(make):
    discriminator = make(score_clamp=1.0, length_debias=0.5)
    rewards = discriminator.rewards(torch.tensor([[3.0, -3.0, 0.5]]), [GROUP])
    expected = torch.tensor([[1.0, -1.0, 0.5]]) - 0.5 * torch.log1p(torch.tensor([[2.0, 6.0, 1.0]]))
    torch.testing.assert_close(rewards, expected)


def test_the_penalty_on_scores_is_added_to_the_loss(make):
    plain, penalised = (make(score_l2=weight).score_and_step([GROUP], learn=False) for weight in (0.0, 0.5))
    squares = (plain.teacher_B**2 + (plain.student_BN**2).mean(dim=1)).item() / 2
    assert penalised.loss == pytest.approx(plain.loss + 0.5 * squares, abs=1e-6)


def test_a_base_of_its_own_leaves_the_students_weights_alone(make, tiny):
    discriminator = make(model=tiny)
    assert list(discriminator.model.peft_config) == [adapters.DISCRIMINATOR]
    assert discriminator.score_and_step([GROUP], learn=True).grad_norm > 0


def test_a_saved_discriminator_goes_on_and_one_of_another_base_or_shape_is_refused(make, tmp_path):
    discriminator = make()
    discriminator.score_and_step([GROUP], learn=True)
    discriminator.save(tmp_path / "discriminator.safetensors", "base")
    again = make()
    again.load(tmp_path / "discriminator.safetensors", "base")
    torch.testing.assert_close(
        again.score_and_step([GROUP], False).student_BN,
        discriminator.score_and_step([GROUP], False).student_BN,
    )
    with pytest.raises(ConfigError, match="trained on base, not on other"):
        again.load(tmp_path / "discriminator.safetensors", "other")
    (tmp_path / "broken.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ConfigError, match="broken"):
        again.load(tmp_path / "broken.safetensors", "base")


def test_bradley_terry_by_hand():
    loss = losses.bradley_terry(torch.tensor([1.0]), torch.tensor([[0.0, 3.0]]))
    expected = (torch.log1p(torch.exp(torch.tensor(-1.0))) + torch.log1p(torch.exp(torch.tensor(2.0)))) / 2
    assert loss.tolist() == pytest.approx([expected.item()])
    assert losses.bradley_terry(torch.zeros(1), torch.zeros(1, 4)).item() == pytest.approx(0.693147, abs=1e-6)


def test_cross_entropy_by_hand():
    loss = losses.real_or_fake(torch.tensor([1.0]), torch.tensor([[0.0, 3.0]]))
    ln = torch.log1p
    fake = (ln(torch.tensor(1.0)) + ln(torch.exp(torch.tensor(3.0)))) / 2
    assert loss.item() == pytest.approx((ln(torch.exp(torch.tensor(-1.0))) + fake).item())


def test_advantages_are_z_scores_within_a_prompt():
    advantages = losses.group_advantages(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    assert advantages[0].tolist() == pytest.approx([-1, 0, 1], abs=1e-3)
    assert advantages[1].tolist() == [0, 0, 0]


def test_the_accuracy_counts_a_tie_as_a_half():
    accuracy = losses.discriminator_accuracy(torch.tensor([1.0]), torch.tensor([[0.0, 1.0, 2.0, -1.0]]))
    assert accuracy.item() == 2.5 / 4

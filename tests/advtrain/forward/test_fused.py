"""The head and the adapters as they are run: the same numbers as PyTorch, TRL and PEFT give."""

import functools

import peft
import pytest
import trl.trainer

from advtrain import models, patches
from advtrain.config import Lora
from advtrain.forward import adapters, fused

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("count", [0, 5, 600])  # none, one chunk, several
def test_token_log_probabilities_and_their_gradient_are_those_of_a_log_softmax(count):
    torch.manual_seed(0)
    weight, targets = torch.randn(40, 8), torch.randint(0, 40, (count,))
    hidden = torch.randn(count, 8, requires_grad=True)
    pull = torch.linspace(-1, 1, count)
    log_probs, entropy, mean, top = fused.TokenLogps.apply(hidden, weight, targets)
    (log_probs * pull).sum().backward()
    ours, hidden.grad = hidden.grad, None
    logits = hidden @ weight.t()
    every = logits.log_softmax(1)
    expected = every.gather(1, targets[:, None])[:, 0]
    (expected * pull).sum().backward()
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, hidden.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, -(every.exp() * every).sum(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(mean, logits.mean(1), atol=1e-5, rtol=0)
    assert top.tolist() == (logits.argmax(1) == targets).tolist()


@pytest.mark.trls_head
@pytest.mark.parametrize("frozen", [True, False])
def test_scoring_labelled_positions_alone_changes_no_value_and_no_gradient(tiny, frozen):
    def scored(only_labelled):
        model = models.load_base(tiny).float()
        model.get_output_embeddings().requires_grad_(not frozen)
        trl.trainer.add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        if only_labelled:
            patches.score_selected(model)
            trls = model.forward.advtrain_stands_for
            patches.score_selected(model)
            assert model.forward.advtrain_stands_for is trls
        ids = torch.arange(3, 23).view(2, 10)
        labels = ids.clone()
        labels[0, :6], labels[1, 7:] = -100, -100
        output = model(input_ids=ids, labels=labels, fused_lm_head=True)
        output.log_probs.sum().backward()
        return output, model.model.layers[0].mlp.up_proj.weight.grad

    (plain, plain_grad), (ours, our_grad) = scored(False), scored(True)
    for name in ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name))
    torch.testing.assert_close(our_grad, plain_grad)


def with_update(tiny, dropout=0.0):
    """A policy whose adapter does something."""
    policy = models.load_policy(tiny, "", Lora(), seed=0).float()
    torch.manual_seed(1)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    for module in policy.modules():
        if isinstance(module, peft.tuners.lora.Linear) and dropout:
            module.lora_dropout[adapters.POLICY] = torch.nn.Dropout(dropout)
    return policy


def outcome(policy):
    logits = policy(torch.arange(3, 23).view(2, 10)).logits
    logits.square().mean().backward()
    return logits, [weight.grad for weight in policy.parameters() if weight.requires_grad]


def test_an_adapter_in_one_product_gives_pefts_values_and_gradients(tiny):
    (plain, plain_grads), policy = outcome(with_update(tiny)), with_update(tiny)
    for _ in range(2):  # the second time changes nothing
        patches.fuse_lora(policy)
    assert not any(
        isinstance(argument, functools.partial)
        for module in policy.modules()
        for argument in getattr(module.forward, "args", ())
    )
    ours, our_grads = outcome(policy)
    torch.testing.assert_close(ours, plain)
    assert len(our_grads) == len(plain_grads) > 0
    for mine, theirs in zip(our_grads, plain_grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_an_adapter_that_is_off_or_merged_is_so(tiny):
    ids = torch.arange(3, 13)[None]
    policy = with_update(tiny)
    patches.fuse_lora(policy)
    trained = policy(ids).logits
    with policy.disable_adapter():
        base = policy(ids).logits
    torch.testing.assert_close(base, models.load_base(tiny).float()(ids).logits)
    assert (trained - base).abs().max() > 1e-3
    policy.merge_adapter()
    torch.testing.assert_close(policy(ids).logits, trained)


def test_what_is_no_plain_adapter_goes_pefts_way(tiny):
    policy = with_update(tiny, dropout=0.5)
    patches.fuse_lora(policy)
    ids = torch.arange(3, 13)[None]
    policy.train()
    torch.manual_seed(3)
    noisy = policy(ids).logits
    expected = with_update(tiny, dropout=0.5).train()
    torch.manual_seed(3)
    torch.testing.assert_close(noisy, expected(ids).logits)

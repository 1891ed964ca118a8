"""What a forward pass runs in the place of TRL's and PEFT's general code: the same numbers, less work.

- `selected`: the language model's head sees the positions that predict a label, and no others.
- `TokenLogps`: that head where TRL 1.16 has no kernel of its own, which is everywhere but on a GPU.
- `lora`: an adapter's update added by one matrix product, without PEFT's copies to float32 and back.

`patches` puts them into models. Shapes: K scored tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from trl.trainer.utils import FusedCausalLMOutput

from advtrain.encoding.rows import IGNORED

Arrangement = Callable[[Tensor, Tensor, Tensor], tuple[dict[str, Tensor], tuple[Tensor, Tensor]]]
"""Of `input_ids`, `attention_mask` and `labels`: other inputs, and per label the row and column that predict it."""

Select = Callable[[Tensor, tuple[Tensor, Tensor]], Tensor]
"""Hidden states (rows, columns, H) and places -> what the head gets, (K, H)."""

FIELDS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
"""Of TRL's output, a value a token."""
# Of a config: what the logits are multiplied or bent by.
_SCALES = (
    "final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier",
)  # fmt: skip
_CHUNK = 256  # tokens whose logits are there at a time


def selected(
    model: Any, trls: Any, arrange: Arrangement | None, temperature: Callable[[], float] | None
) -> Callable[..., Any]:  # fmt: skip
    """A forward function for `model` that projects the positions that predict a label, and no others; `trls` is TRL's,
    which it stands for (`patches.score_selected`)."""

    def select(hidden: Tensor, where: tuple[Tensor, Tensor]) -> Tensor:
        return hidden[where] if temperature is None else hidden[where] / temperature()

    @functools.wraps(trls)
    def forward(*args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **options: Any) -> Any:
        # A mixture of experts is balanced over the tokens of a batch: those of TRL's, then.
        if not fused_lm_head or labels is None or options.get("output_router_logits"):
            return trls(*args, fused_lm_head=fused_lm_head, labels=labels, **options)
        scored = labels[:, 1:] != IGNORED
        where = scored.nonzero(as_tuple=True)
        if arrange:
            inputs, where = arrange(options.pop("input_ids"), options.pop("attention_mask"), labels)
            options |= inputs
        targets = labels[:, 1:][scored]
        if is_plain(model):
            output = _scored_here(model, args, options, select, where, targets)
        else:
            output = _scored_by_trl(model, trls, args, options, select, where, targets)
        return _scattered(output, scored)

    return forward


def is_linear(model: Any) -> bool:
    """Whether the head's logits are divided by what its input is divided by: not with a bias or a soft cap."""
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return model.get_output_embeddings().bias is None and cap is None


def is_plain(model: Any) -> bool:
    """Whether the head is a frozen matrix and nothing more, on a device without TRL's kernel."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    scaled = any(getattr(config, name, None) is not None for name in _SCALES)
    frozen = head.bias is None and not head.weight.requires_grad
    return model.device.type not in ("cuda", "xpu") and frozen and not scaled


def _scored_here(
    model: Any, args: Any, options: dict[str, Any], select: Select, where: Any, targets: Tensor
) -> Any:
    options.pop("num_items_in_batch", None)
    hidden = select(model.base_model(*args, **options | {"use_cache": False}).last_hidden_state, where)
    fields = TokenLogps.apply(hidden, model.get_output_embeddings().weight, targets)
    log_probs, entropy, mean_logits, is_top1 = (field[None] for field in fields)
    return FusedCausalLMOutput(
        loss=-log_probs.mean(), log_probs=log_probs, entropy=entropy, mean_logits=mean_logits, is_top1=is_top1
    )


def _scored_by_trl(
    model: Any, fused: Any, args: Any, options: dict[str, Any], select: Select, where: Any, targets: Tensor
) -> Any:
    def replace(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = select(output.last_hidden_state, where)[None]
        return output

    hook = model.base_model.register_forward_hook(replace)
    try:
        return fused(*args, fused_lm_head=True, shift_labels=targets[None], **options)
    finally:
        hook.remove()


def _scattered(output: Any, scored: Tensor) -> Any:
    """Per-token fields of shape (1, K) put to their places in `scored`'s shape, zero elsewhere."""
    for name in FIELDS:
        values = getattr(output, name)
        if values is not None:
            setattr(output, name, values.new_zeros(scored.shape).masked_scatter(scored, values))
    output.label_mask = scored
    return output


class TokenLogps(torch.autograd.Function):  # type: ignore[misc]
    """Log-probability of each target, entropy, mean logit, and whether the target is the likeliest token: (K,) each.

    Takes hidden states (K, H), a frozen head (V, H) and targets (K,). Logits are held for a few tokens at a time, in
    float32, and made again in the backward pass; only the log-probabilities have a gradient.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Any:
        fields = [_fields(*part) for part in _chunks(hidden, weight, targets)]
        *results, normaliser = (torch.cat(column) for column in zip(*fields, strict=True))
        ctx.save_for_backward(hidden, weight, targets, normaliser)
        ctx.mark_non_differentiable(*results[1:])
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        hidden, weight, targets, normaliser = ctx.saved_tensors
        parts = []
        for number, (logits, target) in enumerate(_chunks(hidden, weight, targets)):
            piece = slice(number * _CHUNK, (number + 1) * _CHUNK)
            slope = logits.sub_(normaliser[piece, None]).exp_().neg_()  # onehot - p, of each logit
            slope[torch.arange(len(slope)), target] += 1
            parts.append(slope.mul_(gradient[piece, None]).to(weight.dtype) @ weight)
        return torch.cat(parts), None, None


def _chunks(hidden: Tensor, weight: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits in float32 and targets; once, and empty, where there is none."""
    for some, target in zip(hidden.split(_CHUNK), targets.split(_CHUNK), strict=True):
        yield (some.to(weight.dtype) @ weight.t()).float(), target


def _fields(logits: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """As `TokenLogps`, and the logarithm of the sum of all exponentials."""
    normaliser = logits.logsumexp(1)
    chosen = logits.gather(1, target[:, None])[:, 0]
    mean, top = logits.mean(1), logits.argmax(1) == target
    entropy = normaliser - (functional.softmax(logits, 1) * logits).sum(1)
    return chosen - normaliser, entropy, mean, top, normaliser


def lora(module: Any, general: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
    """`base(x) + scaling * B(A(x))` as one product: no copy of `x` in the adapter's dtype, no sum of its own.

    The weights of the adapter stay float32 and are rounded to the base's dtype for the product, as autocast does.
    What is no plain LoRA (several adapters, dropout, a variant) goes PEFT's way, `general`. Two products in bf16 and a
    rounding between them replace float32 ones; in float32 nothing but the order of a sum changes.
    """
    if module.disable_adapters or module.merged or not is_plain_lora(module) or options or args:
        result: Tensor = general(x, *args, **options)
        return result
    (name,) = module.active_adapters
    base = module.base_layer(x)
    down, up = module.lora_A[name].weight, module.lora_B[name].weight * module.scaling[name]
    inner = functional.linear(x.reshape(-1, x.shape[-1]).to(base.dtype), down.to(base.dtype))
    return torch.addmm(base.reshape(-1, base.shape[-1]), inner, up.to(base.dtype).t()).view(base.shape)


def is_plain_lora(module: Any) -> bool:
    names = [name for name in module.active_adapters if name in module.lora_A]
    if len(names) != 1 or len(module.active_adapters) != 1 or names[0] in module.lora_variant:
        return False
    dropout = module.lora_dropout[names[0]]
    still = isinstance(dropout, torch.nn.Identity) or not module.training or dropout.p == 0
    return still and module.lora_B[names[0]].bias is None

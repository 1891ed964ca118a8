"""Every change that is made to a library's objects, one function each: why, what of the library it leans on, its test.

Nothing is changed when this is imported, and nothing for models that are not ours: each function changes the one model
or client that it is given, and doing it twice is doing it once. What a function leans on is pinned in
tests/advtrain/test_hooks.py, so that an upgrade which moves it says so. No patch, though close to one:
`forward.rollout` hands models a cache of a class of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from trl.trainer import utils as trl_utils
from trl.trainer.utils import add_fused_lm_head

from advcore import ConfigError
from advtrain.forward import attention, fused

ATTENTION = "advtrain_sdpa"  # beside transformers' own names, none of which changes
OUTPUTS = ("log_probs", "entropy")


def use_our_attention(model: Any) -> None:
    """Let this model attend by `attention.sdpa`, where it was loaded for `sdpa`.

    Why: transformers computes what a mask of shared prompts hides. By its interface for attention of one's own
    (huggingface.co/docs/transformers/attention_interface): a name of ours, with the masks that go with `sdpa`. Once
    registered, a name stays as it is. Pinned by test_hooks (`sdpa_attention_forward`) and
    test_prefix.test_attention_does_not_compute_what_the_mask_hides.
    """
    if model.config._attn_implementation != "sdpa":
        return
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention.sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(ATTENTION)


def score_selected(
    model: Any, arrange: fused.Arrangement | None = None, temperature: Callable[[], float] | None = None,
    cast_lm_head_to_fp32: bool = False,
) -> None:  # fmt: skip
    """Let TRL's fused head see the positions of `model` that predict a label, and no others.

    Why: TRL's head (`trl.trainer.utils.add_fused_lm_head`, put on by its trainers) selects by itself on a GPU alone,
    elsewhere it projects every position, prompts and padding too; and its temperature is fixed. With `arrange` the
    backbone gets other rows than TRL's batch; logits are divided by what `temperature` gives at the time, for which
    TRL's head is put on anew without one. Without both nothing is done on a GPU. Only calls with `fused_lm_head=True`
    change, and their fields come back in the shape of `labels[:, 1:]`, zero where there is none; values are unchanged
    up to the rounding of another matrix shape.

    TRL 1.15 has its head on a GPU alone: where ours would have to call that head, ConfigError says so.

    The order of patches of `model.forward` is settled here: the class's own, TRL's, ours. Pinned by test_hooks
    (`add_fused_lm_head`, `FusedCausalLMOutput`) and test_fused; a second call takes the place of the first.
    """
    if arrange is None and temperature is None and model.device.type in ("cuda", "xpu"):
        return
    if trl_utils._ChunkedLogProbFunction is None and not fused.is_plain(model):
        raise ConfigError(f"the head of {type(model).__name__} needs Triton or trl>=1.16: pip install -U trl")
    if temperature is not None:
        vars(model).pop("forward", None)
        add_fused_lm_head(model, cast_lm_head_to_fp32=cast_lm_head_to_fp32, outputs=OUTPUTS)
    trls = getattr(model.forward, "advtrain_stands_for", model.forward)
    model.forward = fused.selected(model, trls, arrange, temperature)
    model.forward.advtrain_stands_for = trls


def fuse_lora(model: Any) -> None:
    """Let every plain LoRA layer of `model` add its update by one product (`fused.lora`).

    Why: PEFT 0.21 copies the input to the adapter's float32 and the result back
    (`peft.tuners.lora.Linear.forward`). A layer that is patched is left alone. Pinned by test_hooks (the layer's
    attributes) and test_fused.test_an_adapter_in_one_product_gives_pefts_values_and_gradients.
    """
    for module in model.modules():
        if type(module) is Linear and getattr(module.forward, "func", None) is not fused.lora:
            module.forward = functools.partial(fused.lora, module, module.forward)


def preserve_base_weights(vllm: Any, policy: Any) -> None:
    """Let TRL's client of vLLM leave the base as it is: a copy of its weights stays in the CPU's memory.

    Why: `VLLMGeneration.sync_weights` of TRL 1.16 merges the adapter into the base and takes it out again, each time
    with a rounding. Pinned by test_discriminator.test_a_base_that_an_adapter_was_merged_into_and_out_of_is_what_it_was.
    """
    sync = vllm.sync_weights
    if hasattr(sync, "advtrain_preserves"):
        return
    bases = {name: weight for name, weight in policy.named_parameters() if ".base_layer." in name}
    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in bases.items()}

    def preserved() -> None:
        sync()
        with torch.no_grad():
            for name, weight in bases.items():
                weight.copy_(kept[name])

    preserved.advtrain_preserves = True  # type: ignore[attr-defined]
    vllm.sync_weights = preserved

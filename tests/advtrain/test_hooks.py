"""What advtrain relies on in TRL, PEFT, accelerate and transformers: an upgrade that breaks a hook says which."""

import dataclasses
import inspect
import subprocess
import sys

import accelerate.data_loader
import peft
import pytest
import torch
import transformers
import trl
import trl.trainer.utils
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.dpo_trainer import DataCollatorForPreference

DPO, SFT, GRPO = trl.DPOTrainer, trl.SFTTrainer, trl.GRPOTrainer


def parameters(function):
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (DPO._prepare_dataset, ["self", "dataset", "processing_class", "args", "dataset_name"]),
        (DPO._compute_loss, ["self", "model", "inputs", "return_outputs"]),
        (DPO._prepare_inputs, ["self", "inputs"]),
        (DPO._get_train_sampler, ["self", "train_dataset"]),
        (DPO._save_checkpoint, ["self", "model", "trial"]),
        (SFT._save_checkpoint, ["self", "model", "trial"]),
        (DPO.create_model_card, ["self", "model_name", "dataset_name", "tags"]),
        (trl.trainer.utils.add_fused_lm_head, [
            "model", "temperature", "cast_lm_head_to_fp32", "outputs",
        ]),
        (peft.tuners.lora.Linear.forward, ["self", "x", "args", "kwargs"]),
        (GRPO._prepare_inputs, ["self", "generation_batch"]),
        (GRPO._generate_and_score_completions, ["self", "inputs"]),
        (GRPO._tokenize_prompts, ["self", "prompts"]),
        (GRPO._generate_single_turn, [
            "self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images",
        ]),
        (GRPO._compute_loss, ["self", "model", "inputs"]),
        (GRPO._get_train_sampler, ["self", "dataset"]),
        (GRPO.training_step, ["self", "model", "inputs", "num_items_in_batch"]),
        (transformers.Trainer.create_scheduler, ["self", "num_training_steps", "optimizer"]),
        (transformers.Trainer._save_optimizer_and_scheduler, ["self", "output_dir"]),
        (GRPO._load_optimizer_and_scheduler, ["self", "checkpoint"]),
        (transformers.Trainer._load_from_checkpoint, ["self", "resume_from_checkpoint", "model"]),
        (DynamicLayer.update, ["self", "key_states", "value_states", "args", "kwargs"]),
        (DynamicLayer.lazy_initialization, ["self", "key_states", "value_states"]),
        (DynamicCache.batch_repeat_interleave, ["self", "repeats"]),
        (DynamicCache.batch_select_indices, ["self", "indices"]),
        (transformers.PreTrainedModel.set_attn_implementation, ["self", "attn_implementation", "allow_all_kernels"]),
        (VLLMGeneration.sync_weights, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)  # fmt: skip
def test_a_hook_takes_what_it_took(hook, expected):
    assert parameters(hook) == expected


def test_attention_takes_what_ours_hands_on():
    takes = parameters(sdpa_attention_forward)
    expected = ["module", "query", "key", "value", "attention_mask", "dropout", "scaling", "is_causal"]
    assert (takes[:8], takes[-1]) == (expected, "kwargs")


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (DPO.__init__, "self._prepare_dataset(train_dataset"),
        (DPO.__init__, "add_fused_lm_head(self.model.get_base_model()"),
        (DPO._compute_loss, "outputs = model(**model_kwargs, labels=labels, fused_lm_head=True)"),
        (DPO._compute_loss, "if self.precompute_ref_logps:"),
        (DPO._compute_loss, 'inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]'),
        (DPO._compute_loss, "if self.ld_alpha is None:"),
        (DPO._set_signature_columns_if_needed, '"ref_rejected_logps"'),
        (transformers.Trainer._get_train_sampler, "RandomSampler(train_dataset)"),
        (transformers.Trainer._save_checkpoint, "TRAINER_STATE_NAME"),
        (GRPO._prepare_inputs, "self._step % self.args.steps_per_generation"),
        (GRPO._generate_and_score_completions, "= self._calculate_rewards(inputs, prompts, completions"),
        (GRPO._generate_and_score_completions, "if self.beta != 0.0:"),
        (GRPO._generate_and_score_completions, 'adapter_name="ref" if "ref" in model.peft_config else None'),
        (GRPO._generate_and_score_completions, '"num_items_in_batch": num_items_in_batch,'),
        (GRPO._generate_and_score_completions, "(std_rewards + 1e-4)"),
        (GRPO._calculate_rewards, "completion_ids=completion_ids_list, **reward_kwargs"),
        (GRPO._get_per_token_logps_and_entropies, "model(**model_inputs, labels=labels, fused_lm_head=True)"),
        (GRPO.__init__, 'ref_name = name.replace(".default.", ".ref.")'),
        (transformers.Trainer._save_checkpoint, "self._save_optimizer_and_scheduler(output_dir)"),
        (accelerate.data_loader.DataLoaderShard.set_epoch, "self.batch_sampler.sampler.set_epoch(epoch)"),
    ],
    ids=lambda value: getattr(value, "__qualname__", value),
)
def test_a_hook_is_still_called_where_it_was(function, line):
    assert line in inspect.getsource(function), f"{function.__qualname__} of this version does otherwise"


def test_trls_fused_output_has_the_fields_that_are_scattered():
    from advtrain.forward import fused

    fields = {field.name for field in dataclasses.fields(trl.trainer.utils.FusedCausalLMOutput)}
    assert {*fused.FIELDS, "loss", "label_mask", "aux_loss"} <= fields
    assert fields - {"loss", "label_mask", "aux_loss", *fused.FIELDS} == set(), "a new field a token?"


def test_a_lora_layer_has_what_its_product_is_made_of(tiny):
    """All that `fused.lora` reads, of a layer with a plain adapter."""
    from advtrain import models
    from advtrain.config import Lora

    policy = models.load_policy(tiny, "", Lora(), seed=0)
    layer = next(each for each in policy.modules() if type(each) is peft.tuners.lora.Linear)
    name = "default"
    assert (layer.disable_adapters, layer.merged, list(layer.active_adapters)) == (False, False, [name])
    assert layer.lora_variant == {}
    assert layer.scaling[name] == 32 / 16
    assert isinstance(layer.lora_dropout[name], torch.nn.Identity)
    assert layer.lora_A[name].weight.shape[0] == layer.lora_B[name].weight.shape[1] == 16
    assert layer.lora_B[name].bias is None
    assert isinstance(layer.base_layer, torch.nn.Linear)
    with policy.disable_adapter():
        assert layer.disable_adapters


def test_a_cache_has_the_layers_that_are_taken_out_of_it():
    cache = DynamicCache(config=transformers.Qwen2Config(num_hidden_layers=2))
    assert [type(layer) for layer in cache.layers] == [DynamicLayer] * 2
    layer = cache.layers[0]
    assert not layer.is_initialized
    layer.update(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4))
    assert (layer.is_initialized, layer.keys.shape, layer.values.shape) == (True, (1, 1, 2, 4), (1, 1, 2, 4))


IMPORTED = """
import importlib, pkgutil, datasets, transformers
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

def state():
    bars = datasets.are_progress_bars_disabled(), are_progress_bars_disabled()
    attention = dict(ALL_ATTENTION_FUNCTIONS.items()), dict(ALL_MASK_ATTENTION_FUNCTIONS.items())
    return bars, transformers.utils.logging.is_progress_bar_enabled(), attention

before = state()
import advtrain
for found in pkgutil.walk_packages(advtrain.__path__, "advtrain."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
assert state() == before
from advtrain import models, patches
model = models.load_base(MODEL)
assert model.config._attn_implementation == patches.ATTENTION
assert state()[:2] == before[:2]
after = state()[2]
assert all(after[kind][name] is before[2][kind][name] for kind in (0, 1) for name in before[2][kind])
plain = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
assert plain.config._attn_implementation == "sdpa"
"""


def test_importing_and_loading_changes_nothing_for_other_models(tiny):
    script = IMPORTED.replace("MODEL", repr(tiny))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_trls_collator_puts_the_chosen_first_and_pads_on_the_right():
    first = {"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5]}
    second = {"prompt_ids": [6], "chosen_ids": [7], "rejected_ids": [8]}
    first |= {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0}
    second |= {"ref_chosen_logps": -3.0, "ref_rejected_logps": -4.0}
    batch = DataCollatorForPreference(pad_token_id=0)([first, second])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [6, 7, 0, 0], [1, 2, 4, 5], [6, 8, 0, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]]
    assert (batch["ref_chosen_logps"].tolist(), batch["ref_rejected_logps"].tolist()) == ([-1, -3], [-2, -4])


def test_accelerate_draws_as_the_sampler_that_stands_in_for_its_own():
    """A plain random sampler is replaced by a seeded one at prepare time; ours makes the same one beforehand."""
    rows = list(range(20))
    torch.manual_seed(7)
    loader = torch.utils.data.DataLoader(rows, sampler=torch.utils.data.RandomSampler(rows), batch_size=1)
    prepared = accelerate.data_loader.prepare_data_loader(
        loader, use_seedable_sampler=True, put_on_device=False
    )
    ours = accelerate.data_loader.SeedableRandomSampler(rows, data_seed=None)
    for epoch in (0, 1, 3):
        prepared.set_epoch(epoch)
        ours.set_epoch(epoch)
        assert [int(batch) for batch in prepared] == list(ours)

"""A tiny random student, a few pairs, and a short way to run a config on them."""

import json

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # matrices this small are slower on two


@pytest.fixture(autouse=True)
def trls_head(request):
    """Skips what holds our numbers against TRL's own head where TRL has none: 1.15 without Triton."""
    import trl.trainer.utils

    if request.node.get_closest_marker("trls_head") and trl.trainer.utils._ChunkedLogProbFunction is None:
        pytest.skip("this version of TRL has no head on a CPU")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("ADVDISTILL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a random two-layer model with a ChatML template."""
    from advcore.testing import tiny_model

    return str(tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def tokenizer(tiny):
    from advtrain import models

    return models.load_tokenizer(tiny)


@pytest.fixture(scope="session")
def preferences():
    """Six preference pairs as plain text."""
    return [
        {
            "prompt": f"Write a function that adds {number} to a number.",
            "chosen": f"def f(x):\n    return x + {number}\n",
            "rejected": f"def f(x):\n    # wrong, and longer than the other\n    return x - {number}\n",
        }
        for number in range(6)
    ]


@pytest.fixture
def pairs(tmp_path, preferences):
    """A public preference set: JSON lines with prompt, chosen and rejected, and nothing else."""
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in preferences))
    return file


@pytest.fixture
def config(tiny, pairs):
    """A function of overrides that gives the config of a DPO run of three steps on `pairs`."""
    from advcore import settings
    from advtrain.config import RunConfig

    def make(**sections):
        values = {
            "method": "dpo",
            "dataset": str(pairs),
            "model": tiny,
            "train": {"learning_rate": 1e-2, "batch_size": 2},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return settings.build(RunConfig, values)

    return make

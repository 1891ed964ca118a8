"""Every test runs without telemetry, and a test that wants a build gets one from the scripted teacher."""

import os
import random

import pytest

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


@pytest.fixture
def rng():
    """Random texts are the same in every run."""
    return random.Random(1)


@pytest.fixture
def servers():
    """A scripted teacher and a scripted student on loopback."""
    from advcore.testing.servers import MockServer
    from advgen.testing import ScriptedStudent, scripted

    with MockServer(scripted) as teacher, MockServer(ScriptedStudent()) as student:
        yield teacher, student


@pytest.fixture
def build_config(servers):
    """A function of overrides that gives the config of a small scripted build."""
    from advcore import settings
    from advgen.config import BuildConfig

    teacher, student = servers

    def make(**sections):
        values = {
            "teacher": {"model": "openai/teacher", "api_base": teacher.api_base, "retries": 1},
            "student": {"model": "openai/student", "api_base": student.api_base, "retries": 1},
            "exercises": {"count": 4, "per_topic": 2, "solutions": 2, "calls": 7},
            "attempts": {"count": 6},
            "curation": {
                "pairs_per_exercise": 2,
                "max_kind_share": 1.0,
                "min_p_wrong": 0.0,
                "min_p_true": 0.0,
            },
            "sandbox": {"wall_s": 2.0},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return settings.build(BuildConfig, values)

    return make

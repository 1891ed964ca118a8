"""The client over real HTTP, directly and through LiteLLM: against a mock server on loopback."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from advcore import ConfigError, TeacherError
from advcore.ask import (
    Budget,
    Client,
    Journal,
    LimiterStopped,
    ModelConfig,
    ReplyError,
    check_model,
    providers,
    structured,
    together,
)
from advcore.ask.errors import RequestFailed, kind_of
from advcore.ask.prices import Price
from advcore.ask.transports.direct import Direct, _failure, _reply
from advcore.testing.servers import Behaviour, MockServer

ASK = [{"role": "user", "content": "say something"}]


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def model(server, **values):
    return ModelConfig(model="openai/mock", api_base=server.api_base, timeout_s=20, **values)


def echo(messages, seed):
    return f"{messages[-1]['content']} {seed}"


def test_samples_differ_by_seed_and_usage_is_counted(journal):
    with MockServer(echo) as server:
        teacher = Client(model(server), journal)
        answers = asyncio.run(teacher.ask_many("test", ASK, 3))
    assert len({answer.text for answer in answers}) == 3
    assert (answers[0].prompt_tokens, answers[0].completion_tokens) == (2, 3)
    assert (teacher.usage.requests, teacher.usage.prompt_tokens) == (3, 6)
    sent = server.requests[0]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.8, 0.95, 700)


def test_a_committed_reply_is_never_asked_for_twice(journal):
    with MockServer(echo) as server:
        first = asyncio.run(Client(model(server), journal).ask_many("test", ASK, 2))
        again = Client(model(server), journal)
        assert asyncio.run(again.ask_many("test", ASK, 3))[:2] == first
        assert len(server.requests) == 3
        assert (again.usage.requests, again.usage.replayed) == (3, 2)


def test_what_is_in_flight_comes_home_when_the_rest_is_called_off(journal):
    async def called_off(teacher):
        samples = asyncio.create_task(teacher.ask_many("test", ASK, 3))
        while not server.requests:
            await asyncio.sleep(0.01)
        teacher.limiter.stop()
        try:
            await samples
        finally:
            await teacher.close()

    with MockServer(echo, behaviour=Behaviour(profile="fixed:0.3")) as server:
        with pytest.raises(LimiterStopped):
            asyncio.run(called_off(Client(model(server, concurrency=1), journal)))
        assert len(server.requests) == len(journal) == 1


def test_of_several_errors_the_cause_is_told_and_not_that_the_rest_was_called_off():
    async def failing(error):
        raise error

    errors = [LimiterStopped(), TeacherError("no such key"), ReplyError("refused", infrastructure=False)]
    with pytest.raises(TeacherError, match="no such key"):
        asyncio.run(together(failing(each) for each in errors))


def test_another_revision_or_temperature_is_another_request(journal):
    with MockServer(echo) as server:
        for config in (model(server), model(server, revision="b"), model(server, temperature=0.1)):
            asyncio.run(Client(config, journal).ask("test", ASK))
    assert len(server.requests) == 3


def test_server_errors_are_retried_and_then_told_as_infrastructure(journal):
    with MockServer(echo, fail_with=[500, 429]) as server:
        assert asyncio.run(Client(model(server), journal).ask("test", ASK)).text.startswith("say")
    with MockServer(echo, fail_with=[503] * 9) as server:
        with pytest.raises(ReplyError) as caught:
            asyncio.run(Client(model(server, retries=1), journal).ask("test", [*ASK, *ASK]))
        assert caught.value.infrastructure
        assert len(server.requests) == 2


def test_a_refused_request_is_not_retried(journal):
    with MockServer(echo, fail_with=[400]) as server:
        with pytest.raises(ReplyError) as caught:
            asyncio.run(Client(model(server), journal).ask("test", ASK))
        assert not caught.value.infrastructure
        assert len(server.requests) == 1
    assert len(journal) == 0


def test_a_wrong_key_stops_the_run_without_showing_it(journal, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    with MockServer(lambda *_: "", fail_with=[401]) as server, pytest.raises(TeacherError) as caught:
        asyncio.run(Client(model(server), journal).ask("test", ASK))
    assert "very-secret" not in str(caught.value)


def test_litellm_is_loaded_by_the_first_request_that_needs_it_and_by_nothing_else(tmp_path):
    code = f"""
import asyncio, sys
from pathlib import Path
import advgen.pipeline, advgen.answer, advgen.judge
from advcore.ask import Client, Journal, ModelConfig
from advcore.testing.servers import MockServer

async def asked(model, journal):
    return await Client(model, journal).ask("test", {ASK!r})

with MockServer(lambda *_: "yes") as server, Journal(Path({str(tmp_path / "journal.sqlite")!r})) as journal:
    for name in ("openai/m", "deepseek/m"):
        asyncio.run(asked(ModelConfig(model=name, api_base=server.api_base), journal))
        print("litellm" in sys.modules)
"""
    environment = os.environ | {"DEEPSEEK_API_KEY": "sk-not-a-real-one"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout.split(), done.returncode) == (["False", "True"], 0), done.stderr


@pytest.fixture(params=["direct", "litellm"])
def path(request, monkeypatch):
    """The way a request goes out."""
    if request.param == "litellm":
        monkeypatch.setattr(providers, "KEYS", {})
        monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-one")


@pytest.mark.usefixtures("path")
def test_what_a_provider_refuses_is_not_sent_on_either_path(journal, monkeypatch):
    monkeypatch.setattr(providers, "REFUSED", {"openai": ("temperature",)})
    with MockServer(echo) as server:
        asyncio.run(Client(model(server), journal).ask("test", ASK))
        (sent,) = server.requests
    assert "temperature" not in sent
    assert (sent["top_p"], sent["max_tokens"]) == (0.95, 700)
    assert "identity" not in sent


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("fault", "raised", "says"),
    [
        ("no_quota", TeacherError, "quota"),
        ("unauthorized", TeacherError, "auth"),
        ("error", ReplyError, "server"),
        ("truncated", ReplyError, ""),
        ("cut", ReplyError, ""),
    ],
)
def test_a_failure_has_one_name_on_both_paths_and_only_what_may_be_billed_stays_spent(
    journal, fault, raised, says
):
    with MockServer(echo, None, Behaviour(faults={fault: 1.0})) as server:
        given = model(server, retries=0, usd_per_request=0.01)
        with pytest.raises(raised, match=says):
            asyncio.run(Client(given, journal, Budget(0.05, journal)).ask("test", ASK))
        assert len(server.requests) == 1
    assert (
        journal.spent_usd == pytest.approx(0.01 if fault in ("truncated", "cut") else 0.0) or fault == "error"
    )


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("fault", ["content_filter", "context_length"])
def test_a_refusal_is_a_reply_that_is_not_asked_for_again(journal, fault):
    with MockServer(echo, None, Behaviour(faults={fault: 1.0})) as server:
        for _ in range(2):
            answer = asyncio.run(Client(model(server), journal).ask("test", ASK))
            assert (answer.finish_reason, answer.text) == (fault, "")
        assert len(server.requests) == 1


@pytest.mark.usefixtures("path")
def test_a_price_of_the_config_is_what_counts(journal):
    with MockServer(echo) as server:
        given = model(server, usd_per_request=0.5)
        budget = Budget(1.0, journal)
        answer = asyncio.run(Client(given, journal, budget).ask("test", ASK))
        assert (answer.cost_usd, journal.spent_usd) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense/model", "unknown model nonsense/model"),
        ("anthropic/claude-sonnet-4-5", "needs the environment variable ANTHROPIC_API_KEY"),
        ("local/teachr", "did you mean teacher"),
    ],
)
def test_a_model_that_cannot_be_asked_is_one_line_before_anything_runs(monkeypatch, name, message):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=message):
        check_model(ModelConfig(model=name))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (403, "Your chosen model requires moderation and your input was flagged", "content_filter"),
        (403, "this key may not use that model", "auth"),
        (429, "You exceeded your current quota", "rate"),
        (400, "maximum context length is 4096 tokens", "context_length"),
        (529, "overloaded", "server"),
    ],
)
def test_an_error_is_named_by_its_status_and_its_words(status, text, kind):
    assert kind_of(status, "None None", text) == kind


def body(content="hi", usage=None, **message):
    reply = {
        "choices": [{"message": {"content": content, **message}, "finish_reason": "stop"}],
        "usage": usage,
    }
    return json.dumps(reply).encode()


@pytest.mark.parametrize("data", [b"[" * 100_000, b"no JSON", b"[]", b'{"choices": [{"message": 3}]}'])
def test_an_answer_that_is_no_completion_is_a_failed_request_and_nothing_worse(data):
    with pytest.raises(RequestFailed, match="server"):
        _reply(data, 7)
    assert _failure(400, data, None).kind == "bad_request"


@pytest.mark.parametrize("said", [-5_000_000, 10**21, float("inf"), "many", None])
def test_a_count_that_cannot_be_one_is_the_number_of_bytes(said):
    reply = _reply(body("h\u00e9", {"prompt_tokens": said, "total_tokens": 3}), 7)
    assert (reply["prompt_tokens"], reply["completion_tokens"]) == (7, 3)


def test_a_refusal_beside_the_content_is_kept_as_one():
    reply = _reply(body(None, {}, refusal="I will not."), 7)
    assert (reply["text"], reply["finish_reason"]) == ("I will not.", "content_filter")


def test_each_kind_of_server_gets_its_own_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-1234567")
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "vllm-1234567")

    async def header(model):
        direct = Direct(model, "http://127.0.0.1:1/v1", 1.0)
        session = direct._open()
        await session.close()
        return session.headers["Authorization"]

    assert asyncio.run(header("hosted_vllm/m")) == "Bearer vllm-1234567"
    assert asyncio.run(header("openai/m")) == "Bearer sk-openai-1234567"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:9100/v1", "no http:// or https:// URL"),
        ("http://user:hunter2pass@host/v1", "holds a user, a query or a fragment"),
        ("http://host/v1?key=hunter2pass", "holds a user, a query or a fragment"),
    ],
)
def test_an_api_base_that_is_no_plain_url_is_one_line_that_does_not_repeat_it(url, says):
    with pytest.raises(ConfigError, match=says) as raised:
        check_model(ModelConfig(model="openai/m", api_base=url))
    assert "hunter2pass" not in str(raised.value)


def test_a_server_that_names_a_time_is_asked_again_then_however_few_retries_there_are(journal):
    behaviour = Behaviour(retry_after=True)
    with MockServer(echo, behaviour=behaviour, fail_with=[503, 503, 503]) as server:
        assert asyncio.run(Client(model(server, retries=3), journal).ask("test", ASK)).text
        assert len(server.requests) == 4


def test_a_long_prompt_is_reserved_for_at_the_price_of_long_prompts():
    plain, long = Price(0.0, 1.0, 2.0), Price(0.0, 1.0, 2.0, 1.0, 2.0)
    short = {"messages": [{"role": "user", "content": "x" * 84}], "max_tokens": 10}
    large = {"messages": [{"role": "user", "content": "x" * 200_000}], "max_tokens": 10}
    assert long.at_most(short) == plain.at_most(short)
    assert long.at_most(large) == 2 * plain.at_most(large)


def test_json_that_was_only_thought_of_is_no_answer():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert structured.parse('<think>\nMaybe {"n": 1}?\n</think>\n{"n": 2}', schema) == {"n": 2}
    with pytest.raises(structured.Unfit, match="holds no JSON"):
        structured.parse('<think>\n{"n": 1}', schema)

"""Provider batches through `Client.ask`: both protocols against the mock server, with faults, caps and kills."""

import asyncio
import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
from collections import Counter

import pytest

from advcore import ConfigError, TeacherError
from advcore.ask import (
    Budget,
    BudgetExhausted,
    Client,
    Journal,
    JournalReader,
    ModelConfig,
    ReplyError,
    check_model,
)
from advcore.ask.journal import key
from advcore.ask.prices import price
from advcore.ask.transports import batches, vendors
from advcore.testing.servers import Behaviour, MockServer
from advgen.answer import answer
from advgen.config import AnswerConfig

PROVIDERS = ("openai", "anthropic")
PRICES = {"usd_per_million_prompt": 1e6, "usd_per_million_completion": 1e6}  # a token costs a dollar


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What takes a day takes moments."""
    monkeypatch.setattr(batches, "_LULL_S", 0.05)
    monkeypatch.setattr(batches, "_POLL_S", 0.02)
    monkeypatch.setattr(batches, "_POLL_MOST_S", 0.1)
    monkeypatch.setattr(batches, "_GRACE_S", 0.2)
    monkeypatch.setattr("advcore.ask.client.random.uniform", lambda *_: 0.02)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as made:
        yield made


def model(provider, server, **values):
    return ModelConfig(
        model=f"{provider}/mock", api_base=server.api_base, timeout_s=20, batch=True, **PRICES, **values
    )


def echo(messages, seed):
    return f"you said {messages[-1]['content']}"


def said(number):
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"row-{number}"}]


def ask_rows(teacher, count, **values):
    """Replies to `count` different requests, or what they raised."""

    async def ask():
        asked = (teacher.ask("test", said(number), **values) for number in range(count))
        try:
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await teacher.close()

    return asyncio.run(ask())


def arrivals(log):
    """How often each key came to the server in a batch."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return Counter(
        event["id"].partition(":")[2]
        for event in events
        if event["event"] == "arrived" and ":" in event["id"]
    )


def states(journal):
    return [state for (state,) in journal._reader.execute("SELECT state FROM batches")]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_requests_that_come_together_are_one_batch_and_its_replies_are_journalled(provider, journal):
    with MockServer(echo, behaviour=Behaviour(batch_s=0.1)) as server:
        teacher = Client(model(provider, server, concurrency=2), journal)
        answers = ask_rows(teacher, 9)
        assert server.stats()["batch_rows"] == 9
        again = Client(model(provider, server), journal)
        assert ask_rows(again, 9) == answers
        assert server.stats()["batch_rows"] == 9
    assert [answer.text for answer in answers] == [f"you said row-{number}" for number in range(9)]
    assert {answer.finish_reason for answer in answers} == {"stop"}
    assert (answers[0].prompt_tokens, answers[0].completion_tokens) == (3, 3)
    assert states(journal) == ["ended"]
    assert (teacher.usage.replayed, again.usage.replayed) == (0, 9)
    assert teacher.usage.busy_s > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ask_many_gives_every_sample_and_the_same_key_is_in_a_batch_once(provider, journal, tmp_path):
    with MockServer(echo, log=tmp_path / "log") as server:
        teacher = Client(model(provider, server), journal)

        async def ask():
            both = await asyncio.gather(*(teacher.ask_many("test", said(0), 3) for _ in range(2)))
            await teacher.close()
            return both

        first, second = asyncio.run(ask())
    assert first == second
    assert len({answer.key for answer in first}) == 3
    assert set(arrivals(tmp_path / "log").values()) == {1}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_costs_half_and_is_billed_so(provider, journal):
    with MockServer(echo) as server:
        config = model(provider, server)
        (answer,) = ask_rows(Client(config, journal), 1)
        assert answer.cost_usd == journal.spent_usd == 0.5 * (3 + 3)
        assert price(config).at_most({"messages": said(0), "max_tokens": 10}) * 2 == price(
            dataclasses.replace(config, batch=False)
        ).at_most({"messages": said(0), "max_tokens": 10})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_that_failed_are_asked_again_and_only_those(provider, journal, tmp_path):
    faults = Behaviour(faults={"error": 0.3, "hang": 0.2}, seed=3)
    with MockServer(echo, behaviour=faults, log=tmp_path / "log") as server:
        teacher = Client(model(provider, server, retries=8), journal, Budget(1e9, journal))
        answers = ask_rows(teacher, 12)
    assert [answer.text for answer in answers] == [f"you said row-{number}" for number in range(12)]
    assert teacher.usage.retried > 0
    assert sum(arrivals(tmp_path / "log").values()) == 12 + teacher.usage.retried
    assert journal.spent_usd == sum(answer.cost_usd for answer in answers)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rows_that_keep_failing_are_told_as_infrastructure_and_cost_nothing(provider, journal):
    with MockServer(echo, behaviour=Behaviour(faults={"error": 1.0})) as server:
        results = ask_rows(Client(model(provider, server, retries=1), journal, Budget(1e9, journal)), 2)
        assert server.stats()["batch_rows"] == 4
    assert all(isinstance(result, ReplyError) and result.infrastructure for result in results)
    assert (journal.spent_usd, len(journal)) == (0.0, 0)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", ["content_filter", "context_length"])
def test_a_refused_row_is_a_reply_and_is_not_asked_again(provider, kind, journal):
    with MockServer(echo, behaviour=Behaviour(faults={kind: 1.0})) as server:
        for _ in range(2):
            results = ask_rows(Client(model(provider, server), journal, Budget(1e9, journal)), 2)
            assert [(result.text, result.finish_reason) for result in results] == [("", kind)] * 2
        assert server.stats()["batch_rows"] == 2
    assert journal.spent_usd == 0


@pytest.mark.parametrize(
    ("provider", "reason"),
    [("openai", "the batch failed: This line is not"), ("anthropic", "a list of at least one")],
)
def test_a_batch_that_fails_as_a_whole_fails_each_row_with_its_reason(provider, reason, journal):
    with MockServer(echo) as server:
        teacher = Client(model(provider, server), journal, Budget(1e9, journal))

        async def ask():
            asked = (teacher.ask("test", messages) for messages in (said(0), said(1), []))
            results = await asyncio.gather(*asked, return_exceptions=True)
            await teacher.close()
            return results

        results = asyncio.run(ask())
    for result in results:
        assert isinstance(result, ReplyError)
        assert not result.infrastructure
        assert reason in str(result)
    assert (journal.spent_usd, journal.orphaned_usd, len(journal)) == (0.0, 0.0, 0)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wrong_key_stops_the_run(provider, journal):
    with MockServer(echo, fail_with=[401]) as server:
        (result,) = ask_rows(Client(model(provider, server), journal), 1)
    assert isinstance(result, TeacherError)
    assert states(journal) == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_submission_whose_answer_was_lost_is_found_and_not_made_again(
    provider, journal, tmp_path, monkeypatch
):
    vendor = {"openai": vendors.OpenAI, "anthropic": vendors.Anthropic}[provider]
    real = vendor.create

    async def create(self, name, bodies):
        await real(self, name, bodies)
        raise vendors._unbilled("connection", "reset by peer")

    monkeypatch.setattr(vendor, "create", create)
    with MockServer(echo, log=tmp_path / "log") as server:
        answers = ask_rows(Client(model(provider, server), journal), 3)
    assert [answer.text for answer in answers] == [f"you said row-{number}" for number in range(3)]
    assert set(arrivals(tmp_path / "log").values()) == {1}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_poll_that_fails_is_made_again(provider, journal, monkeypatch):
    with MockServer(echo, behaviour=Behaviour(batch_s=0.3)) as server:
        vendor = {"openai": vendors.OpenAI, "anthropic": vendors.Anthropic}[provider]
        real = vendor.ended

        async def ended(self, provider_id):
            if not server.fail_with and not failed:
                failed.append(True)
                server.fail_with.extend([500] * 4)  # beyond what the SDK tries by itself
            return await real(self, provider_id)

        failed = []
        monkeypatch.setattr(vendor, "ended", ended)
        (answer,) = ask_rows(Client(model(provider, server), journal), 1)
    assert answer.text == "you said row-0"


def test_a_batch_that_cannot_be_polled_keeps_its_keys_taken(journal, tmp_path, monkeypatch):
    async def ended(self, provider_id):
        raise vendors._unbilled("auth", "key revoked")

    with MockServer(echo, log=tmp_path / "log") as server:
        teacher = Client(model("openai", server), journal)

        async def ask_twice():
            for _ in range(2):
                with pytest.raises(TeacherError, match="key revoked"):
                    await teacher.ask("test", said(0))
            await teacher.close()

        with monkeypatch.context() as patch:
            patch.setattr(vendors.OpenAI, "ended", ended)
            asyncio.run(ask_twice())
        assert states(journal) == ["submitted"]
        (answer,) = ask_rows(Client(model("openai", server), journal), 1)
    assert answer.text == "you said row-0"
    assert set(arrivals(tmp_path / "log").values()) == {1}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_cap_counts_what_is_in_flight(provider, journal):
    with MockServer(echo, behaviour=Behaviour(batch_s=0.2)) as server:
        config = model(provider, server, max_tokens=10)
        most = price(config).at_most({"messages": said(0), "max_tokens": 10})
        teacher = Client(config, journal, Budget(2.5 * most, journal))
        peak = []
        entered = journal.enter_batch

        async def enter_batch(batch):
            peak.append((len(batch.rows), journal.spent_usd))
            await entered(batch)

        journal.enter_batch = enter_batch
        answers = ask_rows(teacher, 4)
        assert peak[0] == (2, 2 * most)  # the other two wait for what these give back
        assert sum(rows for rows, _ in peak) == 4
        assert journal.spent_usd == sum(answer.cost_usd for answer in answers)
        poor = Client(config, journal, Budget(journal.spent_usd + most / 2, journal))
        results = ask_rows(poor, 6)[4:]
        assert {type(result) for result in results} == {BudgetExhausted}
        assert server.stats()["batch_rows"] == 4


def test_no_batch_is_larger_than_allowed(journal, monkeypatch):
    monkeypatch.setattr(batches, "LARGEST_ROWS", 3)
    with MockServer(echo) as server:
        ask_rows(Client(model("openai", server), journal), 7)
        assert len(states(journal)) == 3
        monkeypatch.setattr(batches, "_LARGEST_BYTES", 1200)
        ask_rows(Client(model("openai", server, revision="b"), journal), 3)
        assert len(states(journal)) == 5


def test_answers_through_batches_share_one_however_few_requests_may_be_in_flight(tmp_path, monkeypatch):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"row-{number}"}) + "\n" for number in range(20)))
    with MockServer(echo) as server:
        config = AnswerConfig(teacher=model("openai", server, concurrency=2))
        summary = answer(config, file, tmp_path / "run")
        assert (summary["answered"], server.stats()["batch_rows"]) == (20, 20)
    with JournalReader(tmp_path / "run" / "journal.sqlite") as journal:
        assert states(journal) == ["ended"]


@pytest.mark.parametrize("name", ["hosted_vllm/x", "local/teacher", "gemini/x"])
def test_a_model_without_a_batch_api_is_one_line(name):
    with pytest.raises(ConfigError, match=f"^batch = true is for [^\n]* not for {name}$"):
        check_model(ModelConfig(model=name, api_base="http://127.0.0.1:1/v1", batch=True))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_key_is_one_line(provider, monkeypatch):
    variable = f"{provider.upper()}_API_KEY"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=f"needs the environment variable {variable}$"):
        check_model(ModelConfig(model=f"{provider}/x", batch=True))


def test_what_is_1_by_default_is_left_out_and_openai_itself_gets_the_limit_by_its_new_name(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    payload = {"messages": said(0), "temperature": 1.0, "top_p": 0.9, "max_tokens": 7}
    body = vendors.OpenAI(ModelConfig(model="openai/x", batch=True)).body(payload, 5)
    assert body == {
        "model": "x", "messages": said(0), "seed": 5, "max_completion_tokens": 7, "top_p": 0.9,
    }  # fmt: skip


def test_a_batch_for_anthropic_has_no_top_p_beside_its_temperature(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    ask = [{"role": "user", "content": "yes or no"}]
    payload = {"messages": ask, "temperature": 0.8, "top_p": 0.95, "max_tokens": 7}
    body = vendors.Anthropic(ModelConfig(model="anthropic/x", batch=True)).body(payload, 5)
    assert body == {"model": "x", "messages": ask, "max_tokens": 7, "temperature": 0.8}


def test_a_stranger_s_batch_of_the_same_size_is_not_adopted(journal, tmp_path):
    with MockServer(echo, log=tmp_path / "log") as server:
        with Journal(tmp_path / "other.sqlite") as other:
            ask_rows(Client(model("anthropic", server, temperature=0.5), other), 2)
        teacher = Client(model("anthropic", server), journal)

        async def only_intend(self, name, bodies):
            raise asyncio.CancelledError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vendors.Anthropic, "create", only_intend)
            ask_rows(teacher, 2)
        assert states(journal) == ["intent"]
        answers = ask_rows(Client(model("anthropic", server), journal), 2)
    assert [answer.text for answer in answers] == ["you said row-0", "you said row-1"]
    assert set(arrivals(tmp_path / "log").values()) == {1}
    assert states(journal) == ["ended"]


def test_a_request_that_is_in_a_batch_is_not_asked_directly_when_batches_are_switched_off(journal):
    with MockServer(echo, behaviour=Behaviour(batch_s=60)) as server:
        config = model("openai", server)

        async def leave_while_it_runs():
            teacher = Client(config, journal)
            asked = asyncio.create_task(teacher.ask("test", said(0)))
            while states(journal) != ["submitted"]:
                await asyncio.sleep(0.02)
            asked.cancel()
            await teacher.close()

        asyncio.run(leave_while_it_runs())
        plain = Client(dataclasses.replace(config, batch=False), journal)
        refused, answered = ask_rows(plain, 2)
        assert isinstance(refused, TeacherError)
        assert "set batch = true" in str(refused)
        assert answered.text == "you said row-1"


def test_a_journal_that_is_older_than_batches_gets_their_table(tmp_path):
    Journal(tmp_path / "journal.sqlite").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
        database.execute("DROP TABLE batches")
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert states(journal) == []


DYING = """
import asyncio, os, sys
from pathlib import Path
from advcore.ask import ModelConfig
from advcore.ask import Journal
from advcore.ask import Budget, Client
from advcore.ask.transports import batches, vendors

provider, api_base, folder, step = sys.argv[1:]
batches._LULL_S = batches._POLL_S = 0.05
owner, name = {
    "reserved": (Journal, "reserve"), "intent": (Journal, "enter_batch"), "created": (vendors.OpenAI, "create"),
    "submitted": (Journal, "batch_submitted"), "polling": (vendors.OpenAI, "ended"),
    "results": (vendors.OpenAI, "outcomes"), "ended": (Journal, "end_batch"),
}[step]
if owner is vendors.OpenAI and provider == "anthropic":
    owner = vendors.Anthropic
real = getattr(owner, name)

async def dying(*given, **named):
    await real(*given, **named)
    os._exit(9)

setattr(owner, name, dying)

async def ask():
    config = ModelConfig(
        model=f"{provider}/mock", api_base=api_base, timeout_s=20, batch=True,
        usd_per_million_prompt=1e6, usd_per_million_completion=1e6,
    )
    journal = Journal(Path(folder) / "journal.sqlite")
    teacher = Client(config, journal, Budget(1e9, journal))
    said = lambda number: [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": f"row-{number}"}
    ]
    await asyncio.gather(*(teacher.ask("test", said(number)) for number in range(4)))

asyncio.run(ask())
"""


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "step", ["reserved", "intent", "created", "submitted", "polling", "results", "ended"]
)
def test_a_kill_after_any_step_loses_no_result_and_submits_nothing_twice(provider, step, tmp_path):
    log = tmp_path / "log"
    with MockServer(echo, behaviour=Behaviour(batch_s=0.2), log=log) as server:
        died = subprocess.run(
            [sys.executable, "-c", DYING, provider, server.api_base, str(tmp_path), step],
            capture_output=True,
            text=True,
        )
        assert died.returncode == 9, died.stderr
        assert sum(arrivals(log).values()) == (0 if step in ("reserved", "intent") else 4)
        with Journal(tmp_path / "journal.sqlite") as journal:
            before = {"created": "intent", "polling": "submitted", "results": "submitted"}.get(step, step)
            assert states(journal) == ([] if step == "reserved" else [before])
            teacher = Client(model(provider, server), journal, Budget(1e9, journal))
            answers = ask_rows(teacher, 4)
            assert [answer.text for answer in answers] == [f"you said row-{number}" for number in range(4)]
            assert arrivals(log) == dict.fromkeys((answer.key for answer in answers), 1)
            assert states(journal) == ["ended"]
            assert journal.spent_usd == sum(answer.cost_usd for answer in answers)
            assert journal.orphaned_usd == 0


def test_results_of_an_earlier_process_are_stored_also_when_only_one_of_them_is_asked_for(tmp_path):
    with MockServer(echo, behaviour=Behaviour(batch_s=0.2)) as server:
        subprocess.run(
            [sys.executable, "-c", DYING, "openai", server.api_base, str(tmp_path), "submitted"],
            capture_output=True,
        )
        with Journal(tmp_path / "journal.sqlite") as journal:
            teacher = Client(model("openai", server), journal)
            ask_rows(teacher, 1)
            assert journal.keys() == {key(teacher.payload(said(number)), 0) for number in range(4)}

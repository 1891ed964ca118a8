"""The mock server over real sockets, driven by the providers' own SDKs and by raw bytes."""

import asyncio
import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx
import openai
import pytest

from advcore import ConfigError
from advcore.testing.servers import Behaviour, MockServer, row_echo
from advcore.testing.servers.behaviour import BREAKS, FAULTS, parse_profile
from advcore.testing.servers.ledger import content_hash

ASK = [{"role": "user", "content": "say  two words"}]


def echo(messages, seed):
    return f"{messages[-1]['content']} {seed}"


def openai_client(server):
    return openai.OpenAI(base_url=server.api_base, api_key="none", max_retries=0, timeout=5)


def anthropic_client(server):
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=5)


def chat(server, **values):
    return openai_client(server).chat.completions.create(model="mock", messages=ASK, **values)


def call(messages=ASK, **values):
    """The bytes of one model call."""
    body = json.dumps({"model": "mock", "messages": messages, **values}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def received(server, data, until):
    """What comes back on one new connection for `data`, up to the `until`-th answer or the end."""
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=5) as sock:
        sock.sendall(data)
        got = b""
        while got.count(b"HTTP/1.1 ") < until or not got.endswith(b"}"):
            more = sock.recv(65536)
            if not more:
                break
            got += more
    return got


def eventually(condition):
    """Wait until `condition()` holds: the server's side of an exchange may end a moment after the client's."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def process(*arguments):
    """The server as a process; gives the line it printed."""
    command = [sys.executable, "-m", "advcore.testing.servers", *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = json.loads(running.stdout.readline())
        yield line, running
    finally:
        running.terminate()
        running.communicate(timeout=10)


# Chat and messages


def test_openai_sdk_gets_reply_usage_and_the_seed():
    with MockServer(echo) as server:
        answer = chat(server, seed=7)
        models = openai_client(server).models.list().data
    assert answer.choices[0].message.content == "say  two words 7"
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", "mock")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 4, 7)
    assert (server.requests[0]["seed"], models[0].id) == (7, "mock")


def test_anthropic_sdk_gets_reply_usage_and_system_comes_first():
    seen = []

    def respond(messages, seed):
        seen.extend(messages)
        return "three little words"

    blocks = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    with MockServer(respond) as server:
        client = anthropic_client(server)
        answer = client.messages.create(model="mock", max_tokens=9, system="be brief", messages=blocks)
        models = client.models.list().data
    assert (answer.content[0].text, answer.stop_reason) == ("three little words", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 3)
    assert seen == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one\ntwo"}]
    assert models[0].display_name == "mock"


def test_openai_stream_gives_the_same_text_and_usage_when_asked():
    with MockServer(echo) as server:
        chunks = list(chat(server, stream=True, stream_options={"include_usage": True}))
        without = list(chat(server, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "say  two words 0"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 7)
    assert all(chunk.usage is None for chunk in without)


def test_anthropic_stream_builds_the_same_message():
    with MockServer(echo) as server:
        create = anthropic_client(server).messages
        with create.stream(model="mock", max_tokens=9, messages=ASK) as stream:
            pieces = list(stream.text_stream)
            message = stream.get_final_message()
        whole = create.create(model="mock", max_tokens=9, messages=ASK)
    assert "".join(pieces) == message.content[0].text == "say  two words 0"
    assert len(pieces) == 4
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)


def test_a_stream_spends_its_time_word_by_word():
    with MockServer(lambda *_: "a b c d e", behaviour=Behaviour(profile="per_token:0.1")) as server:
        start = time.monotonic()
        times = [time.monotonic() - start for _ in chat(server, stream=True)]
    assert times[-1] - times[0] > 0.3  # all at once would be 0
    assert all(at >= 0.1 * number for number, at in enumerate(times))


def test_an_answer_that_is_no_stream_takes_the_time_of_its_words():
    with MockServer(
        lambda *_: "a b c d e", behaviour=Behaviour(profile="fixed:0.1+per_token:0.04")
    ) as server:
        start = time.monotonic()
        chat(server)
        assert time.monotonic() - start >= 0.3


def test_pipelined_requests_are_answered_in_order_even_when_they_come_in_pieces():
    asked = b"".join(call([{"role": "user", "content": f"number {at}"}], seed=at) for at in range(40))
    for profile in ("fixed:0", "lognormal:0.003,0.03"):
        with MockServer(echo, behaviour=Behaviour(profile=profile)) as server:
            answers = received(server, asked, 40)
            assert [answers.index(f"number {at} {at}".encode()) for at in range(40)] == sorted(
                answers.index(f"number {at} {at}".encode()) for at in range(40)
            )
            with socket.create_connection(
                ("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=5
            ) as sock:
                for at in range(0, len(asked[:400]), 7):
                    sock.sendall(asked[:400][at : at + 7])
                    time.sleep(0.0005)
                assert b"number 0 0" in sock.recv(65536)


def test_a_large_reply_arrives_whole_and_is_sent_only_when_it_is_out():
    with MockServer(lambda *_: "word " * 2_000_000) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=60) as sock:
            sock.sendall(call())
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
            assert server.stats()["served"] == 0
            assert server.stats()["in_flight"] == 1
        eventually(lambda: server.stats()["lost"] == 1)
        assert len(chat(server).choices[0].message.content) == 10_000_000
        eventually(lambda: server.stats()["served"] == 1)


def test_a_client_that_reads_late_still_gets_every_answer():
    with MockServer(lambda *_: "word " * 10_000) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=5) as sock:
            sock.sendall(call() * 399 + call().replace(b"Host: x", b"Connection: close"))
            time.sleep(0.5)
            assert server.stats()["served"] < 400  # the kernel's buffers are full
            got = sum(map(len, iter(lambda: sock.recv(1 << 20), b"")))
        assert got > 400 * 50_000
        eventually(lambda: server.stats()["served"] == 400)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (call()[:-5] + b"xxxxx", 400),
        (call(messages="no list"), 400),
        (call().replace(b"completions", b"complexions"), 404),
        (call().replace(b"Host: x", b"Transfer-Encoding: chunked"), 411),
    ],
    ids=["no http", "no json", "no messages", "no such path", "no length"],
)
def test_what_cannot_be_read_is_an_error_and_not_a_hang(data, status):
    with MockServer(echo) as server:
        assert received(server, data, 1).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("profile", ["fixed:0", "fixed:0.01"])
def test_a_respond_that_raises_closes_the_connection(caplog, profile):
    def respond(messages, seed):
        return str(1 // seed)

    with MockServer(respond, behaviour=Behaviour(profile=profile)) as server:
        assert received(server, call(seed=1) + call(seed=0), 3).count(b"HTTP/1.1 ") == 1
        eventually(lambda: server.stats()["lost"] == 1)
    assert "ZeroDivisionError" in caplog.text


# Behaviour


def test_fail_with_is_used_up_before_anything_is_answered_whatever_the_endpoint():
    with MockServer(echo, fail_with=[500, 429, 503]) as server:
        for kind in (openai.InternalServerError, openai.RateLimitError):
            with pytest.raises(kind, match="scripted failure"):
                chat(server)
        with pytest.raises(openai.InternalServerError):
            openai_client(server).batches.list()
        assert chat(server).choices
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "status", "code", "other_status", "kind"),
    [
        ("error", 500, None, 500, "api_error"),
        ("unauthorized", 401, "invalid_api_key", 401, "authentication_error"),
        ("no_quota", 429, "insufficient_quota", 400, "invalid_request_error"),
        ("content_filter", 400, "content_filter", 400, "invalid_request_error"),
        ("context_length", 400, "context_length_exceeded", 400, "invalid_request_error"),
    ],
)
def test_refusals_have_each_providers_form(fault, status, code, other_status, kind):
    with MockServer(echo, behaviour=Behaviour(faults={fault: 1.0})) as server:
        with pytest.raises(openai.APIStatusError) as caught:
            chat(server)
        with pytest.raises(anthropic.APIStatusError) as other:
            anthropic_client(server).messages.create(model="mock", max_tokens=9, messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert (other.value.status_code, other.value.body["error"]["type"]) == (other_status, kind)


def test_a_reply_cut_at_the_limit_says_so_in_both_dialects():
    with MockServer(lambda *_: "a b c d ", behaviour=Behaviour(faults={"length": 1.0})) as server:
        answer = chat(server)
        message = anthropic_client(server).messages.create(model="mock", max_tokens=9, messages=ASK)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("a b ", "length")
    assert answer.usage.completion_tokens == 2
    assert message.stop_reason == "max_tokens"


def test_faults_of_the_wire_are_what_they_are_called():
    def post(server, **values):
        body = {"model": "mock", "messages": ASK, **values}
        return httpx.post(f"{server.api_base}/chat/completions", json=body, timeout=0.3)

    for fault, error in (
        ("reset", httpx.ReadError),
        ("cut", httpx.RemoteProtocolError),
        ("hang", httpx.ReadTimeout),
    ):
        for values in ({}, {"stream": True}):
            with MockServer(echo, behaviour=Behaviour(faults={fault: 1.0})) as server:
                with pytest.raises(error):
                    post(server, **values)
                eventually(lambda server=server: server.stats()["lost"] == 1)
                assert server.stats()["in_flight"] == 0
    with MockServer(echo, behaviour=Behaviour(faults={"truncated": 1.0})) as server:
        answer = post(server)
        streamed = post(server, stream=True).text
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert "data: " in streamed
    assert "[DONE]" not in streamed


def test_faults_and_delays_are_drawn_from_seed_and_number():
    mixed = {"error": 0.1, "hang": 0.2, "length": 0.3}
    drawn = [Behaviour(faults=mixed, seed=1).fault(at) for at in range(4000)]
    assert drawn == [Behaviour(faults=mixed, seed=1).fault(at) for at in range(4000)]
    assert drawn != [Behaviour(faults=mixed, seed=2).fault(at) for at in range(4000)]
    for name, share in {**mixed, "": 0.4}.items():
        assert drawn.count(name) / 4000 == pytest.approx(share, abs=0.03)
    latency = parse_profile("lognormal:2,30")
    seconds = sorted(latency.seconds(1, at) for at in range(4000))
    assert seconds[2000] == pytest.approx(2, rel=0.1)
    assert seconds[3960] == pytest.approx(30, rel=0.3)
    assert latency.seconds(1, 5) == latency.seconds(1, 5) != latency.seconds(2, 5)


def test_a_line_serves_its_capacity_and_lets_the_others_wait():
    with MockServer(echo, behaviour=Behaviour(profile="queue:2,0.2")) as server:
        start = time.monotonic()

        def answered(_):
            received(server, call(), 1)
            return time.monotonic() - start

        with ThreadPoolExecutor(6) as pool:
            times = sorted(pool.map(answered, range(6)))
        assert server.stats()["peak_in_flight"] == 6
    assert times[2] >= 0.4
    assert times[4] >= 0.6
    assert times[5] < 1.1  # one by one it would be 1.2


def test_a_client_that_goes_leaves_its_place_in_the_line():
    with MockServer(echo, behaviour=Behaviour(profile="queue:1,0.3")) as server:
        socks = [socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) for _ in range(3)]
        for sock in socks:
            sock.sendall(call())
        eventually(lambda: server.stats()["in_flight"] == 3)
        for sock in socks:
            sock.close()
        eventually(lambda: server.stats()["lost"] == 3)
        start = time.monotonic()
        assert chat(server).choices
        assert time.monotonic() - start < 0.9  # behind the three it would be 1.2


BODY = json.dumps({"model": "mock", "messages": ASK}).encode()


def test_an_allowance_answers_429_with_or_without_the_time_to_come_again():
    with MockServer(echo, behaviour=Behaviour(requests_per_s=0.5, burst=2, rate_headers=True)) as server:
        first, second, third = (
            httpx.post(f"{server.api_base}/chat/completions", content=BODY) for _ in range(3)
        )
        other = httpx.post(f"{server.api_base}/messages", content=BODY[:-1] + b', "max_tokens": 3}')
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert third.headers["retry-after"] == "2"
    assert 1500 < int(third.headers["retry-after-ms"]) <= 2000
    assert [first.headers[f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining")] == ["30", "1"]
    assert (other.status_code, other.json()["error"]["type"]) == (429, "rate_limit_error")
    assert other.headers["anthropic-ratelimit-requests-remaining"] == "0"
    with MockServer(echo, behaviour=Behaviour(requests_per_s=0.5, retry_after=False)) as server:
        answers = [httpx.post(f"{server.api_base}/chat/completions", content=BODY) for _ in range(2)]
    assert answers[1].status_code == 429
    assert not {"retry-after", "retry-after-ms", "x-ratelimit-limit-requests"} & set(answers[1].headers)


def test_an_allowance_fills_again_at_its_rate():
    with MockServer(echo, behaviour=Behaviour(requests_per_s=20, burst=1)) as server:
        client = openai_client(server).with_options(max_retries=5)
        start = time.monotonic()
        for _ in range(5):
            client.chat.completions.create(model="mock", messages=ASK)
        assert time.monotonic() - start >= 0.2
        assert server.stats()["by_status"]["429"] >= 3


@pytest.mark.parametrize(
    "values",
    [
        {"profile": "fixed"},
        {"profile": "queue:0,1"},
        {"profile": "lognormal:3,2"},
        {"profile": "fixed:nan"},
        {"profile": "slow:1"},
        {"faults": {"fire": 0.1}},
        {"faults": {"hang": 0.6, "cut": 0.6}},
        {"burst": 0},
    ],
    ids=str,
)
def test_a_behaviour_that_cannot_be_read_is_a_config_error(values):
    with pytest.raises(ConfigError):
        Behaviour(**values)


# Batches


def upload(client, rows, **given):
    """Upload chat rows (custom_id, text) and create their batch."""
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "mock", "messages": [{"role": "user", "content": text}], "seed": 3},
        }
        for name, text in rows
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = client.files.create(file=("rows.jsonl", io.BytesIO(data)), purpose="batch")
    assert client.files.content(file.id).read() == data
    assert client.files.retrieve(file.id).bytes == len(data)
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **given
    )


def lines_of(client, file_id):
    return {
        line["custom_id"]: line for line in map(json.loads, client.files.content(file_id).text.splitlines())
    }


def test_openai_sdk_runs_a_batch_end_to_end():
    with MockServer(echo) as server:
        client = openai_client(server)
        made = upload(client, [("a", "first"), ("b", "zwei\r\nrows --")], metadata={"run": "x"})
        batch = client.batches.retrieve(made.id)
        lines = lines_of(client, batch.output_file_id)
    assert (made.status, batch.status, batch.metadata) == ("validating", "completed", {"run": "x"})
    assert (batch.request_counts.total, batch.request_counts.completed, batch.error_file_id) == (2, 2, None)
    assert list(lines) == ["b", "a"]  # no provider promises an order
    body = lines["a"]["response"]["body"]
    assert (lines["a"]["response"]["status_code"], body["usage"]["total_tokens"]) == (200, 3)
    assert body["choices"][0]["message"]["content"] == "first 3"
    assert batch.usage.total_tokens == 3 + 7
    assert [body["messages"][0]["content"] for body in server.requests] == ["first", "zwei\r\nrows --"]


def test_rows_of_a_batch_meet_faults_one_by_one():
    names = [(f"row-{at}", "text") for at in range(60)]
    mixed = {"content_filter": 0.3, "hang": 0.3}
    with MockServer(echo, behaviour=Behaviour(faults=mixed)) as server:
        client = openai_client(server)
        batch = client.batches.retrieve(upload(client, names).id)
        good, bad = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    expected = [Behaviour(faults=mixed).fault(at) for at in range(1, 61)]
    assert {name for name, _ in names} == set(good) | set(bad)
    assert (len(good), batch.request_counts.failed) == (expected.count(""), 60 - expected.count(""))
    codes = [
        line["error"]["code"] if line["error"] else line["response"]["body"]["error"]["code"]
        for line in bad.values()
    ]
    assert codes.count("request_timeout") == expected.count("hang")
    assert codes.count("content_filter") == expected.count("content_filter")


def test_a_batch_takes_its_time_and_a_cancelled_one_keeps_what_was_done():
    with MockServer(echo, behaviour=Behaviour(batch_s=2.0)) as server:
        client = openai_client(server)
        made = upload(client, [(f"{at}", "text") for at in range(20)])
        time.sleep(0.3)
        halfway = client.batches.retrieve(made.id)
        assert client.batches.cancel(made.id).status == "cancelling"
        time.sleep(0.5)
        batch = client.batches.retrieve(made.id)
        done, left = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(made.id)
    assert (halfway.status, batch.status) == ("in_progress", "cancelled")
    assert 0 < halfway.request_counts.completed <= len(done) < 20
    assert len(done) + len(left) == 20
    assert {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}
    assert len(server.requests) == len(done) < halfway.request_counts.completed + 5  # none after the cancel


def test_a_broken_input_file_fails_its_batch_with_the_line():
    with MockServer(echo) as server:
        client = openai_client(server)
        made = upload(client, [("a", "one"), ("a", "two")])
        batch = client.batches.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            client.batches.create(
                input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h"
            )
    assert (batch.status, batch.errors.data[0].code, batch.errors.data[0].line) == (
        "failed",
        "duplicate_custom_id",
        2,
    )
    assert (server.requests, batch.output_file_id) == ([], None)


def test_batches_are_listed_newest_first_in_pages_with_their_metadata():
    with MockServer(echo) as server:
        client = openai_client(server)
        made = [upload(client, [("a", "x")], metadata={"at": str(at)}).id for at in range(5)]
        page = client.batches.list(limit=2)
        assert ([batch.id for batch in page.data], page.has_more) == ([made[4], made[3]], True)
        assert [batch.metadata["at"] for batch in client.batches.list(limit=2)] == ["4", "3", "2", "1", "0"]
        assert [batch.id for batch in client.batches.list(after=made[1]).data] == [made[0]]


def anthropic_rows(*names):
    return [
        {"custom_id": name, "params": {"model": "mock", "max_tokens": 9, "messages": ASK}} for name in names
    ]


def test_anthropic_sdk_runs_a_batch_end_to_end():
    with MockServer(echo, behaviour=Behaviour(batch_s=0.5)) as server:
        batches = anthropic_client(server).messages.batches
        made = batches.create(requests=anthropic_rows("a", "b"))
        with pytest.raises(anthropic.AnthropicError, match="results_url"):
            batches.results(made.id)
        time.sleep(0.55)
        batch = batches.retrieve(made.id)
        results = list(batches.results(made.id))
    assert (made.processing_status, made.request_counts.processing) == ("in_progress", 2)
    assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 2)
    assert [row.custom_id for row in results] == ["b", "a"]
    assert results[0].result.message.content[0].text == "say  two words 0"
    assert len(server.requests) == 2


def test_anthropic_batches_end_canceled_errored_or_expired_and_are_listed_in_pages():
    for faults, batch_s, kind in (
        ({"context_length": 1.0}, 0, "errored"),
        ({"cut": 1.0}, 0, "expired"),
        ({}, 60, "canceled"),
    ):
        with MockServer(echo, behaviour=Behaviour(faults=faults, batch_s=batch_s)) as server:
            batches = anthropic_client(server).messages.batches
            made = [batches.create(requests=anthropic_rows("a")).id for _ in range(3)]
            if kind == "canceled":
                assert batches.cancel(made[0]).processing_status == "canceling"
            ended = batches.retrieve(made[0])
            assert getattr(ended.request_counts, kind) == 1
            assert [row.result.type for row in batches.results(made[0])] == [kind]
            assert [batch.id for batch in batches.list(limit=1)] == made[::-1]
            assert [batch.id for batch in batches.list(before_id=made[0], limit=1).data] == [made[1]]


def test_an_anthropic_batch_that_names_a_row_twice_is_refused():
    with MockServer(echo) as server, pytest.raises(anthropic.BadRequestError, match="custom_id"):
        anthropic_client(server).messages.batches.create(requests=anthropic_rows("a", "a"))


# The log, the counters, the process


def test_the_log_tells_arrived_from_sent_and_lost_and_finds_duplicates(tmp_path):
    log = tmp_path / "log.jsonl"
    with MockServer(echo, log=log) as server:
        for seed in (1, 2, 2):
            chat(server, seed=seed)
        chat(server, seed=2, user="another delivery", stream=True).close()
        client = openai_client(server)
        client.batches.retrieve(upload(client, [("a", "x")]).id)
    with MockServer(echo, behaviour=Behaviour(faults={"hang": 1.0}), log=log) as server:
        with pytest.raises(openai.APITimeoutError):
            openai_client(server).with_options(timeout=0.1).chat.completions.create(model="m", messages=ASK)
        eventually(lambda: server.stats()["lost"] == 1)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    contents = [line["content"] for line in lines if line["event"] == "arrived" and line["content"]]
    assert len(contents) == 6
    assert contents[0] != contents[1] == contents[2] == contents[3]
    rows = [line for line in lines if line["id"] == "batch_1:a"]
    assert [line["event"] for line in rows] == ["arrived", "sent"]
    assert rows[0]["content"] == content_hash(
        {"seed": 3, "messages": [{"role": "user", "content": "x"}], "model": "mock"}
    )
    assert [line["event"] for line in lines[-2:]] == ["arrived", "lost"]
    assert lines[-1]["why"] == "hang"
    assert {line["status"] for line in lines if line["event"] == "sent"} == {200}


def events_of(log, count):
    """The log's events, once there are so many: a reply is there before its line is."""
    for _ in range(100):
        if len(rows := log.read_text().splitlines()) >= count:
            break
        time.sleep(0.05)
    return [json.loads(row)["event"] for row in rows]


def test_the_process_serves_logs_at_once_and_ends_by_sigterm(tmp_path):
    log = tmp_path / "log.jsonl"
    arguments = ("--port", "0", "--profile", "fixed:0.05", "--reply-bytes", "100", "--log", str(log))
    with process(*arguments, "--faults", "length:0.0,error:0.0") as (line, running):
        client = openai.OpenAI(base_url=line["api_base"], api_key="none")
        texts = [
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"do row-{at}"}], seed=at
            )
            for at in (17, 4)
        ]
        events = events_of(log, 4)
        stats = httpx.get(f"{line['url']}/stats").json()
        running.send_signal(signal.SIGTERM)
        assert running.wait(5) == 0
    assert [answer.choices[0].message.content.split()[0] for answer in texts] == ["row-17", "row-4"]
    assert [len(answer.choices[0].message.content) for answer in texts] == [100, 100]
    assert events == ["arrived", "sent"] * 2
    assert (stats["served"], stats["in_flight"], stats["peak_in_flight"]) == (2, 0, 1)
    assert stats["by_status"] == {"200": 2}
    assert 1 <= stats["requests_per_s"] <= 2


def test_a_kill_of_the_server_itself_loses_no_line(tmp_path):
    log = tmp_path / "log.jsonl"
    with process("--log", str(log), "--faults", "hang:1") as (line, running):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{line['api_base']}/chat/completions", content=BODY, timeout=0.2)
        running.kill()
        running.wait()
    assert json.loads(log.read_text().splitlines()[0])["event"] == "arrived"


def test_arguments_that_cannot_be_used_are_one_line():
    for arguments in (["--profile", "fast"], ["--faults", "fire:1"], ["--faults", "hang"], ["--burst", "0"]):
        command = [sys.executable, "-m", "advcore.testing.servers", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 2
        assert "python -m advcore.testing.servers: error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_the_toolkit_loads_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import advcore.testing.servers.__main__\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'advgen', 'advcore'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_replies_by_row_differ_by_prompt_and_seed_and_have_their_size():
    respond = row_echo(200)
    replies = {respond([{"role": "user", "content": f"row-{at % 2}"}], at // 2) for at in range(4)}
    assert ({len(reply) for reply in replies}, len(replies)) == ({200}, 4)
    assert row_echo(0)(ASK, 0).startswith("no-row ")


def test_many_clients_at_once_each_get_their_own_row():
    behaviour = Behaviour(profile="lognormal:0.01,0.05")

    async def ask_all(server):
        async with openai.AsyncOpenAI(base_url=server.api_base, api_key="none", max_retries=0) as client:

            async def one(at):
                asked = [{"role": "user", "content": f"this is row-{at}"}]
                answer = await client.chat.completions.create(model="m", messages=asked)
                return answer.choices[0].message.content.split()[0]

            return await asyncio.gather(*(one(at) for at in range(100)))

    with MockServer(row_echo(300), behaviour=behaviour) as server:
        assert asyncio.run(ask_all(server)) == [f"row-{at}" for at in range(100)]
        assert server.stats()["peak_in_flight"] > 10


def test_every_fault_has_a_test():
    """The names above are all there are."""
    refusals = {"error", "unauthorized", "no_quota", "content_filter", "context_length"}
    assert set(FAULTS) == refusals | set(BREAKS) | {"length"}

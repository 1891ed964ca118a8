"""Decontamination, on a benchmark made up here; the public ones are in test_public_benchmarks.py."""

import gzip
import json

import pytest

from advcore import DataError
from advcore.settings import shipped
from advgen.hygiene.behaviour import NEAREST
from advgen.hygiene.contamination import HASHED, Benchmarks, packed, unpacked
from advgen.hygiene.items import Hit, Text, read
from sandbox import Limits, Sandbox

FERRY = {
    "task_id": "Port/7",
    "entry_point": "ferry_trips",
    "prompt": "def ferry_trips(weights: list[int], limit: int) -> int:\n"
    '    """A ferry carries lorries in the order in which they wait on the quay, as many as its deck\n'
    "    can bear. Say how often it crosses the strait until the quay is empty.\n\n"
    '    >>> ferry_trips([4, 4, 2], 6)\n    2\n    """\n',
    "canonical_solution": "    crossings, deck = 0, limit\n    for weight in weights:\n"
    "        if deck + weight > limit:\n            crossings += 1\n            deck = 0\n        deck += weight\n"
    "    return crossings\n",
    "test": "def check(candidate):\n    assert candidate([4, 4, 2], 6) == 2\n    assert candidate([], 6) == 0\n"
    "    assert candidate([6, 6, 6], 6) == 3\n    assert candidate([1, 1, 1], 6) == 1\n",
}
HARBOUR = "Count the cranes of a harbour whose arms reach beyond the breakwater at high tide in a storm."
CRANES = {
    "task_id": 3,
    "text": HARBOUR,
    "code": "def cranes(arms, wall):\r\n    return sum(arm > wall for arm in arms)\r\n",
    "test_setup_code": "",
    "test_list": ["assert int(cranes([1, 5], 2)) == 1", "assert cranes([], 2) == 0"],
}
# The same task in other words, under other names, solved in another way.
REWORDED = Text(
    "Lorries board a boat one after the other. How many crossings are needed if its deck bears at most so much?",
    "def boat(loads, most):\n    rides, aboard = 0, []\n    for load in loads:\n"
    "        if not aboard or sum(aboard) + load > most:\n            rides, aboard = rides + 1, []\n"
    "        aboard.append(load)\n    return rides",
    "boat",
)
NOTHING = Text(
    "Rotate a tower of painted wooden blocks by one storey.", "def spin(blocks):\n    return blocks", "spin"
)


def jsonl(path, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def port(tmp_path):
    return Benchmarks.from_files(
        [jsonl(tmp_path / "Port.jsonl.gz", FERRY), jsonl(tmp_path / "quay.jsonl", CRANES)]
    )


@pytest.fixture(scope="module")
def passes():
    with Sandbox(1, Limits(wall_s=2.0)) as box:
        yield lambda code, tests, entry_point: box.check(code, tests, entry_point).passed


def layers(benchmarks, row, passes=None):
    return {hit.layer for hit in benchmarks.check(row, passes) if hit.item in ("Port/7", "quay/3", "")}


def test_a_task_word_for_word_is_hit_in_every_layer(port, passes):
    row = Text(FERRY["prompt"], FERRY["prompt"] + FERRY["canonical_solution"], "ferry_trips")
    found = port.check(row, passes)
    assert found == [
        Hit(layer, "Port", "Port/7")
        for layer in ("substring", "ngram10", "ngram13", "signature", "ast", "behaviour")
    ]
    assert port.check(NOTHING, passes) == []


def test_case_and_white_space_hide_no_passage(port):
    shouted = " ".join(FERRY["canonical_solution"].upper().split())
    assert layers(port, Text(f"What does this do? {shouted}", "", "")) == {"substring"}
    assert layers(port, Text("\n".join(HARBOUR.upper().split(" ")), "", "")) == {
        "substring",
        "ngram10",
        "ngram13",
    }


def test_ten_words_in_a_row_are_hit_and_nine_are_not(port):
    nine = "of a harbour whose arms reach beyond the breakwater".replace(" ", "  ")
    assert layers(port, Text(f"Think {nine} now", "", "")) == set()
    assert layers(port, Text(f"Think {nine} at now", "", "")) == {"ngram10"}
    assert "ngram13" in layers(port, Text(f"Think {nine} at high tide in", "", ""))


@pytest.mark.parametrize(
    ("stub", "expected"),
    [
        ("def ferry_trips(a, b): pass", {"signature"}),
        ("def ferryTrips(a, b): pass", {"signature"}),
        ("def ferry_trips(a, b, c): pass", set()),
        ("def cranes(arms, wall): pass", {"signature"}),
        ("def cranes(a, b): pass", set()),
    ],
)
def test_a_signature_is_a_name_and_a_count_or_for_one_word_the_parameters(port, stub, expected):
    name = stub.split()[1].split("(")[0]
    assert layers(port, Text("", stub, name)) == expected
    assert layers(port, Text(stub, "", name)) == expected


def test_a_solution_with_other_names_is_hit_also_among_other_functions(port):
    code = "def aid(a):\n    return a\n\ndef g(p, q):\n" + FERRY["canonical_solution"].replace(
        "weights", "p"
    ).replace("weight", "z").replace("limit", "q").replace("crossings", "r").replace("deck", "s")
    assert layers(port, Text("", code, "aid")) == {"ast"}
    assert layers(port, Text("", code.replace("= 0, q", "= 1, q"), "aid")) == set()


def test_a_stub_is_no_solution(tmp_path):
    stub = "def {}({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}): pass"
    task = {"prompt": stub.format("first", *"abcdefghijkl"), "entry_point": "first"}
    benchmarks = Benchmarks.from_files([jsonl(tmp_path / "stubs.jsonl", task)])
    assert benchmarks.check(Text("", stub.format("other", *"mnopqrstuvwx"), "other")) == []


def test_only_behaviour_knows_what_is_reworded_and_rewritten(port, passes):
    assert port.check(REWORDED) == []
    assert port.check(REWORDED, passes) == [Hit("behaviour", "Port", "Port/7")]
    wrong = Text(REWORDED.prompt, REWORDED.code.replace("rides + 1", "rides + 2"), "boat")
    assert port.check(wrong, passes) == []


def test_tests_that_show_little_are_not_run(tmp_path, passes):
    weak = FERRY | {"test": "def check(candidate):\n" + "    assert candidate([1], 6) == 1\n" * 5}
    benchmarks = Benchmarks.from_files([jsonl(tmp_path / "weak.jsonl", weak, CRANES)])
    assert benchmarks.check(REWORDED, passes) == []
    assert [layer.runs for layer in benchmarks.layers if layer.name == "behaviour"] == [False]


def test_a_program_is_tried_on_the_nearest_tasks_that_it_fits(tmp_path):
    others = [
        FERRY | {"task_id": f"x/{number}", "prompt": f"def f{number}(a, b): pass", "entry_point": f"f{number}",
                 "canonical_solution": f"def f{number}(a, b):\n    return a", "test": FERRY["test"] + f"# {number}\n"}
        for number in range(40)
    ]  # fmt: skip
    asked = []
    benchmarks = Benchmarks.from_files([jsonl(tmp_path / "many.jsonl", *others, FERRY)])
    benchmarks.check(REWORDED, lambda code, tests, entry_point: asked.append(entry_point) or False)
    assert len(asked) == NEAREST
    assert asked[0] == "ferry_trips"
    asked.clear()
    three = Text(REWORDED.prompt, "def boat(a, b, c): pass", "boat")
    assert benchmarks.check(three, lambda *args: bool(asked.append(args))) == []
    assert asked == []


def test_what_three_tasks_share_or_any_exercise_says_is_no_hit(tmp_path):
    shared = "Every harbour master of the northern archipelago writes the following into the big log book: "
    common = (
        "Write a function that takes a list of integers and returns the number of even elements in the list."
    )
    own = ["seals asleep on the pier", "gulls circling the lighthouse", "buoys torn from their chains"]
    rows = [
        {"task_id": f"a/{number}", "text": f"{common} {shared} {each}"} for number, each in enumerate(own)
    ]
    benchmarks = Benchmarks.from_files([jsonl(tmp_path / "log.jsonl", *rows)])
    assert benchmarks.check(Text(common, "", "")) == []
    assert benchmarks.check(Text(shared, "", "")) == []
    assert {hit.item for hit in benchmarks.check(Text(f"{shared} {own[1]}", "", ""))} == {"a/1"}
    two = Benchmarks.from_files([jsonl(tmp_path / "two.jsonl", *rows[:2])])
    assert two.check(Text(shared, "", "")) != []


def test_numbers_alone_are_no_hit(tmp_path):
    numbers = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]"
    benchmarks = Benchmarks.from_files([jsonl(tmp_path / "n.jsonl", {"prompt": f"Sum {numbers}"})])
    assert benchmarks.check(Text(f"Sort {numbers}", "", "")) == []


def test_hashes_alone_hit_the_same_rows_but_name_no_item(port):
    hashes = unpacked(packed(port))
    row = Text(FERRY["prompt"], FERRY["prompt"] + FERRY["canonical_solution"], "ferry_trips")
    assert hashes.check(row) == [Hit(hit.layer, "Port", "") for hit in port.check(row)]
    assert hashes.check(NOTHING) == []
    assert packed(hashes) == packed(port)
    assert b"ferry" not in packed(port)
    assert (hashes | port).check(row) == (port | hashes).check(row) == port.check(row)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-8], lambda data: data[:-1], lambda data: b"{}\n", lambda _: b""]
)
def test_damaged_hashes_are_refused(port, damage):
    with pytest.raises(DataError, match="damaged"):
        unpacked(damage(packed(port)))


def test_joined_benchmarks_hit_for_either(tmp_path):
    one = Benchmarks.from_files([jsonl(tmp_path / "one.jsonl", FERRY)])
    both = one | Benchmarks.from_files([jsonl(tmp_path / "two.jsonl", CRANES)])
    assert [hit.benchmark for hit in both.check(Text(HARBOUR, "", ""))] == ["two"] * 3
    assert {hit.benchmark for hit in both.check(Text(FERRY["prompt"], "", "ferry_trips"))} == {"one"}
    assert [source.file for source in both.sources] == ["one.jsonl", "two.jsonl"]


def test_layers_say_what_can_run_and_why_not(port):
    runs = {layer.name: layer.runs for layer in Benchmarks.shipped().layers}
    assert runs == dict.fromkeys(HASHED, True) | {"behaviour": False}
    assert "files" in Benchmarks.shipped().layers[-1].note
    assert [layer.note for layer in port.layers] == ["Port, quay"] * 5 + ["Port"]


def test_each_form_of_file_is_read(tmp_path):
    plus = {
        "task_id": "Mbpp/9", "prompt": '"""\nCount.\nassert count([1]) == 1\n"""\n', "entry_point": "count",
        "canonical_solution": "\ndef count(a):\n    return len(a)\n", "assertion": "\nassert count([1]) == 1\n",
    }  # fmt: skip
    free = {"instruction": "Be brief."}
    source, (body, mbpp, whole, bare) = read(jsonl(tmp_path / "all.jsonl.gz", FERRY, CRANES, plus, free))
    assert (source.benchmark, source.file, source.items) == ("all", "all.jsonl.gz", 4)
    assert body.code == FERRY["prompt"] + FERRY["canonical_solution"]
    assert (mbpp.name, mbpp.entry_point, mbpp.tests.count("assert")) == ("all/3", "cranes", 2)
    assert "\r" not in mbpp.code
    assert whole.code == plus["canonical_solution"]
    assert whole.tests == "assert count([1]) == 1"
    assert (bare.name, bare.prompt, bare.code, bare.entry_point, bare.tests) == (
        "all/3",
        "Be brief.",
        "",
        "",
        "",
    )


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"no json\n", b"[1]\n", b'{"answer": 1}\n', b'{"prompt": 3}\n']
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        read(tmp_path / "bad.jsonl")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz"):
        read(tmp_path / "cut.jsonl.gz")


def test_our_own_prompts_and_topics_hold_no_benchmark_text():
    files = [*shipped("prompts").glob("*.j2"), shipped("data/topics.toml")]
    texts = [text for file in files for text in (file.read_text(), *file.read_text().splitlines())]
    assert len(files) > 10
    benchmarks = Benchmarks.shipped()
    assert {text: hits for text in texts if (hits := benchmarks.check(Text(text, "", "")))} == {}

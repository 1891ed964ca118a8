"""The page of a run: what is on it, what is not, and that nothing from data becomes markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from advcore import DataError
from advtrain import report, run
from advtrain.cli import main


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data.strip())


def read(folder):
    return Page(report.write(folder).read_text())


def test_a_dpo_run_is_shown_with_its_curves_margins_and_lineage(config, tmp_path, capsys):
    run.run(config(), tmp_path / "first")
    chained = {"adapter": str(tmp_path / "first" / "adapter")}
    run.run(config(**chained), tmp_path / "second")
    assert main(["report", str(tmp_path / "second")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'second' / 'report.html'}\n"
    page = read(tmp_path / "second")
    titles = {attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"}
    assert {"Loss", "Reward margin", "Margins", "Learning rate", "Margin by length of the prompt"} <= titles
    lines = [attrs["points"].split() for tag, attrs in page.tags if tag == "polyline"]
    assert all(len(line) == 3 for line in lines)  # a point a step
    assert sum(float(attrs["height"]) > 0 for tag, attrs in page.tags if tag == "rect") > 1
    assert {"first", "second"} <= set(page.words)
    assert "What it came from" in page.words


def test_the_page_loads_nothing_and_runs_nothing(config, tmp_path):
    run.run(config(), tmp_path / "run")
    text = report.write(tmp_path / "run").read_text()
    assert not re.search(r"<script|src=|href=|url\(|@import|http", text)


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(config, tmp_path):
    run.run(config(), tmp_path / "run")
    for name in ("manifest.json", "margins/round-0000.parquet"):
        (tmp_path / "run" / name).unlink()
    file = tmp_path / "run" / "metrics.jsonl"
    file.write_text(file.read_text() + '{"step": 4, "lo')
    page = read(tmp_path / "run")
    assert any("not finished yet" in words for words in page.words)
    assert "Loss" in page.words
    assert "Margins" not in page.words


def test_names_in_the_data_stay_text(config, tmp_path):
    run.run(config(), tmp_path / "run")
    file = tmp_path / "run" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["warnings"] = ["<script>alert(1)</script>"]
    file.write_text(json.dumps(manifest))
    page = read(tmp_path / "run")
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert "<script>alert(1)</script>" in page.words


def test_margins_are_grouped_by_round_and_strategy():
    rows = [
        {"exercise_id": name, "round": number, "strategy": strategy, "prompt": "p"}
        for name, number, strategy in (("a", 0, "seed"), ("b", 1, "opposite"), ("c", 1, "opposite"))
    ]
    margins = [
        {"exercise_id": name, "margin": value} for name, value in (("a", 0.5), ("b", -1.0), ("c", 3.0))
    ]
    assert report._groups([*margins, {"exercise_id": "a", "margin": float("nan")}], rows) == [
        {"round": 0, "strategy": "seed", "count": 1, "mean": 0.5, "above_zero": 1.0},
        {"round": 1, "strategy": "opposite", "count": 2, "mean": 1.0, "above_zero": 0.5},
    ]


def test_a_dataset_that_is_gone_is_said_to_be(config, pairs, tmp_path):
    run.run(config(), tmp_path / "run")
    pairs.unlink()
    assert any("not told apart by strategy and round" in words for words in read(tmp_path / "run").words)


def test_equal_margins_still_have_a_histogram():
    assert sum(count for _, count in report._histogram([0.25] * 5)) == 5


def test_an_sft_run_has_no_margins(config, tmp_path):
    completions = tmp_path / "sft.jsonl"
    completions.write_text(json.dumps({"prompt": "Add.", "completion": "def f(x):\n    return x\n"}) + "\n")
    run.run(config(method="sft", dataset=str(completions), train={"epochs": 4.0}), tmp_path / "sft")
    page = read(tmp_path / "sft")
    assert "Loss" in page.words
    assert "Margins" not in page.words


def test_a_gad_run_shows_student_and_discriminator_and_its_held_out_answers_as_text(config, tmp_path):
    file = tmp_path / "gad.jsonl"
    rows = [
        {"prompt": f"<b>Add {number}.</b>", "teacher_response": f"<i>{number}</i>"} for number in range(14)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sections = {
        "gad": {"samples": 2, "max_new_tokens": 4, "held_out": 10},
        "train": {"batch_size": 1, "checkpoint_steps": 4},
        "discriminator": {"warmup_steps": 1},
    }
    run.run(config(method="gad", dataset=str(file), **sections), tmp_path / "gad")
    page = read(tmp_path / "gad")
    titles = {attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"}
    assert {
        "Told apart: by the discriminator, by length alone", "Tokens of a reply",
        "KL to the student of the warm-up, nats",
        "Held-out prompts: score of the answers", "ROUGE-L to the teacher",
    } <= titles  # fmt: skip
    assert not {"b", "i"} & {tag for tag, _ in page.tags}
    assert any(words.startswith("<i>") for words in page.words)
    assert any(re.match(r"that of step [48], by its score of ", words) for words in page.words)


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    with pytest.raises(DataError, match="is no run of advtrain"):
        report.write(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    (tmp_path / "config.json").write_text('{"teacher": "local/teacher"}')  # what advgen leaves
    assert main(["report", str(tmp_path)]) == 2
    (tmp_path / "config.json").write_text('{"method": "dpo"')
    assert main(["report", str(tmp_path)]) == 2
    assert [line.partition("json")[2] for line in capsys.readouterr().err.splitlines()] == [
        "", " is of something else", " is broken; remove it and run its command again",
    ]  # fmt: skip
    assert not list(tmp_path.glob("*.html"))

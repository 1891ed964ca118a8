"""The public API as programs use it: a plain script, a notebook, an event loop, a type checker; and its signatures."""

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import advdistill as ad
from advcore.testing import tiny_model
from advcore.testing.servers import Behaviour, MockServer

ROOT = Path(__file__).parents[2]
CONFIG = """
import advdistill as ad

config = ad.BuildConfig(
    teacher=ad.ModelConfig(model="openai/teacher", api_base="{teacher}"),
    student=ad.ModelConfig(model="openai/student", api_base="{student}"),
    exercises=ad.ExercisesConfig(count=2, solutions=2, calls=7),
    attempts=ad.AttemptsConfig(count=4),
    curation=ad.CurationConfig(min_p_wrong=0.0, min_p_true=0.0),
)
"""


def source_of(servers):
    teacher, student = servers
    return CONFIG.format(teacher=teacher.api_base, student=student.api_base)


@pytest.fixture
def config(servers):
    names = {}
    exec(source_of(servers), names)
    return names["config"]


SIGNATURES = {
    "build": "config, out, *, parent=None, margins=None, seeds='', tasks=''",
    "answer": "prompts, model, out, *, n=1, system='', keep_empty=False, budget_usd=0.0",
    "judge": "answers, model, out, *, reference=None, budget_usd=0.0",
    "audit": "dataset, *, benchmarks=(), execute=True, max_tokens=1024, tokenizer=''",
    "verify": "dataset",
    "train": "config, out",
    "evaluate": "model, bench='humaneval', *, limit=0, samples=1, temperature=0.0, max_tokens=512, backend='auto'",
    "push": "run, repo, *, private=True, anyway=False",
    "rounds": "build, train, out, *, count=3, repo='', seeds='', tasks='', evaluate=32",
    "load": "cls, path, overrides=()",
}
TWINS = {"abuild": "build", "aanswer": "answer", "ajudge": "judge", "aevaluate": "evaluate"}
RESULTS = {
    "Build": {"path", "summary", "cost", "asked", "kept", "dataset", "pairs", "rows"},
    "Answers": {"path", "summary", "cost", "answered", "failed", "cost_usd", "dataset", "replies", "rows"},
    "Judgement": {"path", "summary", "cost", "score", "interval", "verdicts"},
    "Training": {"path", "summary", "cost", "adapter", "margins"},
    "Evaluation": {"pass_at_1", "interval", "tasks", "summary"},
    "Rounds": {"path", "rounds", "before", "after"},
    "Round": {"build", "training"},
}


def shape(function):
    """A signature without its types."""
    parameters = [
        each.replace(annotation=each.empty) for each in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))[1:-1]


def test_signatures_stay_as_they_are_and_twins_have_those_of_their_functions():
    functions = {name for name in ad.__all__ if inspect.isfunction(getattr(ad, name))}
    assert functions == SIGNATURES.keys() | TWINS.keys()
    assert {name: shape(getattr(ad, name)) for name in SIGNATURES} == SIGNATURES
    for twin, name in TWINS.items():
        assert shape(getattr(ad, twin)) == SIGNATURES[name]
        assert inspect.iscoroutinefunction(getattr(ad, twin))


def test_results_keep_their_fields():
    for name, fields in RESULTS.items():
        cls = getattr(ad, name)
        public = {each for each in dir(cls) if not each.startswith("_")} | set(cls.__dataclass_fields__)
        assert public == fields, name


def test_a_script_without_a_main_guard_runs_once(servers, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        source_of(servers) + "print('begun', flush=True)\nrun = ad.build(config, 'r0')\n"
        "print(run.asked, run.kept, len(run.pairs), run.pairs[0]['chosen'][0]['role'])\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n2 2 2 assistant\n"


def test_a_notebook_builds_in_its_own_running_loop(servers, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    cells = [
        source_of(servers),
        "import asyncio\nassert asyncio.get_running_loop().is_running()\nrun = ad.build(config, 'r0')\nrun.kept",
        "again = await ad.abuild(config, 'r0')\nagain.summary == run.summary",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        output["data"]["text/plain"] for cell in book.cells for output in cell.outputs if "data" in output
    ]
    assert shown == ["2", "True"]


USER = """
import advdistill as ad

config = ad.load(ad.BuildConfig, "build.toml")
run: ad.Build = ad.build(config, "r0", tasks="shipped")
kept: int = run.kept
trained = ad.train(ad.RunConfig(method="dpo", dataset=str(run.dataset), model="student"), "t0")
score: tuple[float, float] = ad.evaluate(trained, limit=4).interval


async def later() -> float:
    answers = await ad.aanswer(["Hello"], "openai/m", "a0")
    return (await ad.ajudge(answers, "openai/j", "j0")).score


try:
    ad.push(run, "user/name")
except ad.AdvdistillError as error:
    print(error)
"""


def test_a_users_project_passes_a_strict_type_checker_and_a_mistake_is_seen(tmp_path):
    (tmp_path / "good.py").write_text(USER)
    (tmp_path / "bad.py").write_text(
        "import advdistill as ad\nkept: str = ad.build('b.toml', 'r0').kept\nad.answer(['x'], 'm', n='two')\n"
    )
    # by the project's own options and cache: what it looks at in the packages is the same, in a tenth of the time
    check = [sys.executable, "-m", "mypy", str(tmp_path / "good.py"), str(tmp_path / "bad.py")]
    found = subprocess.run(check, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    lines = {":".join(Path(line).name.split(":")[:2]) for line in found[:-1]}
    assert lines == {"bad.py:2", "bad.py:3"}, found


def test_answers_take_rows_of_any_form_and_are_judged(tmp_path):
    def model(messages, seed):
        return "8 4" if "marks" in messages[-1]["content"].lower() else f"I say {messages[-1]['content']}"

    with MockServer(model) as server:
        served = ad.ModelConfig(model="openai/m", api_base=server.api_base)
        prompts = ["one", [{"role": "user", "content": "two"}], {"prompt": "three", "kind": "odd"}]
        answers = ad.answer(prompts, served, tmp_path / "a")
        again = ad.answer(prompts, served, tmp_path / "a")
        assert (answers.answered, answers.failed, again.summary["digest"]) == (
            3,
            0,
            answers.summary["digest"],
        )
        assert [row["teacher_response"] for row in answers.replies] == [
            "I say one",
            "I say two",
            "I say three",
        ]
        assert [row["kind"] for row in answers.replies] == [None, None, "odd"]
        more = ad.answer([*prompts, "four"], served, tmp_path / "a")
        assert (more.answered, server.stats()["served"]) == (4, 4)


def test_a_loop_goes_on_while_a_twin_runs_and_two_run_at_once(config, tmp_path):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def both():
        ticking = asyncio.create_task(tick())
        runs = await asyncio.gather(ad.abuild(config, tmp_path / "a"), ad.abuild(config, tmp_path / "b"))
        ticking.cancel()
        return runs

    first, second = asyncio.run(both())
    assert first.kept == second.kept == 2
    assert ticks > 20


def test_a_cancelled_twin_stores_what_was_asked_and_goes_on_later(tmp_path):
    with MockServer(lambda messages, seed: "Yes.", behaviour=Behaviour(profile="fixed:0.3")) as server:
        served = ad.ModelConfig(model="openai/m", api_base=server.api_base, concurrency=2)
        prompts = [f"number {at}" for at in range(12)]

        async def cancelled():
            task = asyncio.create_task(ad.aanswer(prompts, served, tmp_path / "a"))
            while server.stats()["served"] < 3:
                await asyncio.sleep(0.01)
                assert not task.done(), task.result()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        asked = server.stats()["served"]
        assert asked < 12
        assert not [each for each in threading.enumerate() if each.name == "advdistill"]
        assert ad.answer(prompts, served, tmp_path / "a").answered == 12
        assert server.stats()["served"] == 12


def test_training_and_its_margins(config, tmp_path):
    run = ad.build(config, tmp_path / "r0")
    model = tiny_model(tmp_path / "tiny")
    trained = ad.train(
        ad.RunConfig(method="dpo", dataset=str(run.dataset), model=str(model), train=ad.Train(batch_size=2)),
        tmp_path / "t0",
    )
    assert (trained.adapter / "adapter_config.json").is_file()
    assert len(trained.margins) == len(run.pairs)
    grown = ad.build(config, tmp_path / "r1", parent=run, margins=trained)
    assert grown.summary["draw"]["with_margin"] == 2
    assert ad.verify(grown).reproduced
    assert ad.audit(grown).pairs == len(grown.pairs)


def test_errors_have_one_root_and_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ad.AdvdistillError, match=r"missing.toml does not exist"):
        ad.build(tmp_path / "missing.toml", tmp_path / "r")
    with pytest.raises(ad.ConfigError, match="belong to a --parent"):
        ad.build(ad.load(ad.BuildConfig, _toml(tmp_path)), tmp_path / "r", margins="m")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ad.MissingExtra, match=r"aiohttp is not installed: pip install 'advdistill\[gen\]'"):
        ad.answer(["x"], ad.ModelConfig(model="openai/m", api_base="http://127.0.0.1:1/v1"), tmp_path / "a")


def test_a_sandbox_that_cannot_be_is_an_error_of_the_root_and_of_its_own_kind(dataset, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    for kind in (ad.AdvdistillError, ad.SandboxUnavailable):
        with pytest.raises(kind, match="the sandbox needs Linux"):
            ad.verify(dataset)
    with pytest.raises(ad.SandboxUnavailable):
        ad.Sandbox()


def test_a_foreign_package_of_one_of_our_names_is_one_clear_line(tmp_path):
    (tmp_path / "sandbox.py").write_text("x = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", "import advdistill"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {tmp_path}/sandbox.py stands in the way")
    for command in ("advgen", "advtrain"):  # here ours comes first
        asked = [sys.executable, "-m", command, "--version"]
        assert (
            subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True).stdout.strip()
            == ad.__version__
        )
    (tmp_path / "advcore").mkdir()
    (tmp_path / "advcore" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import advdistill"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "advcore/__init__.py stands in the way" in done.stderr.splitlines()[-1]


def _toml(folder: Path) -> Path:
    file = folder / "build.toml"
    file.write_text('[teacher]\nmodel = "local/teacher"\n[student]\nmodel = "local/student"\n')
    return file


def test_prompts_that_cannot_be_written_and_a_prompt_by_itself_are_told(tmp_path):
    model = ad.ModelConfig(model="openai/m", api_base="http://127.0.0.1:1/v1")
    with pytest.raises(ad.DataError, match="row 1 of the prompts cannot be written as JSON: a bytes"):
        ad.answer(["x", {"prompt": "y", "image": b"1"}], model, tmp_path / "a")
    with pytest.raises(ad.ConfigError, match="one prompt by itself goes in a list"):
        ad.answer("What is a list?", model, tmp_path / "a")
    with pytest.raises(ad.ConfigError, match="the config is a ModelConfig; give a BuildConfig"):
        ad.build(model, tmp_path / "r")  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()


def test_a_twin_that_is_cancelled_at_once_leaves_no_thread_and_no_lock(config, tmp_path):
    async def cancelled():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ad.abuild(config, tmp_path / "r"), 0.05)

    asyncio.run(cancelled())
    assert not [each for each in threading.enumerate() if each.name == "advdistill"]
    assert ad.build(config, tmp_path / "r").kept == 2


def test_a_program_keeps_its_own_handler_of_ctrl_c(config, tmp_path):
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGINT)
        ad.build(config, tmp_path / "r")
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)

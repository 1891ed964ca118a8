"""GAD's toy experiment (arXiv 2511.10643) in seconds on a CPU: `python recipes/gad_toy.py [--json]`.

A teacher over ten categories has two narrow modes; the student, one discretised Gaussian, can only spread over both
or choose one. It sees samples of the teacher and nothing else. Every method begins with the same warm-up: the student
by cross-entropy, the discriminator D (a table of scores) by Bradley-Terry, D alone at first. Then

- SeqKD goes on with cross-entropy, KL(teacher ‖ student) up to a constant: it must cover both modes.
- GAD rewards the student's samples by D before its update. The best D by Bradley-Terry is log teacher - log student up
  to a constant, with which REINFORCE descends KL(student ‖ teacher): it must leave what lies between and seek a mode.
- Frozen D, the off-policy ablation, keeps the D of the warm-up. The student that D likes best is one single category.

Both KLs show it, each beside the least that any such student has, found on a grid. `seeks` is the criterion of a run.
On one mode GAD's best D tells 0.7 apart: 0.4 of the teacher's samples are of the other mode, the rest a coin toss.

It hangs on a teacher whose covering student is no minimum of KL(student ‖ teacher). At widths 0.8 and 1.0 the least is
one that covers, and GAD goes there; with the two widths exchanged it is a second minimum, and 58 of 100 runs leave it.
And on a student slow enough for D to keep up: at learning rates 0.02 and 0.05 GAD ends no nearer than SeqKD.
There is no KL term towards the warm-up's student (its weight is 0.001 in the paper).

Figures are of the last steps, intervals of 95 % over the runs. Shapes: R runs, trained side by side; K categories; B
teacher samples a step and run, each against N of the student.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advcore import stats
from advcore.runs import write_atomic
from advtrain import report
from advtrain.methods.losses import bradley_terry, discriminator_accuracy, group_advantages

K, B, N = 10, 32, 8
MODES = ((0.6, 2.0, 0.7), (0.4, 7.0, 0.5))  # weight, mean, width
ROWS = 2000  # samples of the teacher that a run ever sees
ALONE, WARMUP, STEPS = 10, 300, 2000  # the end of D alone, of the warm-up, of all
STUDENT_LR, D_LR = 0.01, 0.2
LAST, BLOCK = 100, 20  # steps that a figure, and a point of a curve, is the mean of
METHODS = ("SeqKD", "GAD", "frozen D")
FORWARD, REVERSE = "KL(teacher ‖ student)", "KL(student ‖ teacher)"
WIDTH, APART = "Standard deviation", "Share told apart by D"
FIRST, SECOND, BETWEEN = "Mass at 1 to 3", "Mass at 6 to 8", "Mass at 4 and 5"


def gaussian(mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-probabilities (..., K) of what a student can be."""
    distance = (torch.arange(K) - mean[..., None]) / log_std.exp()[..., None]
    return torch.log_softmax(-distance.square() / 2, dim=-1)


def mixture() -> Tensor:
    """The teacher's log-probabilities (K,)."""
    weights, means, widths = torch.tensor(MODES).T
    return (weights @ gaussian(means, widths.log()).exp()).log()


def measures(log_q: Tensor) -> dict[str, Tensor]:
    """What students (..., K) are like, and how far from the teacher."""
    q, log_p, k = log_q.exp(), mixture(), torch.arange(K)
    deviation = k - (q * k).sum(-1, keepdim=True)
    return {
        WIDTH: (q * deviation.square()).sum(-1).sqrt(), FIRST: q[..., 1:4].sum(-1),
        SECOND: q[..., 6:9].sum(-1), BETWEEN: q[..., 4:6].sum(-1),
        FORWARD: (log_p.exp() * (log_p - log_q)).sum(-1), REVERSE: (q * (log_q - log_p)).sum(-1),
    }  # fmt: skip


def train(method: str, runs: int) -> tuple[Tensor, Tensor]:
    """The students at each of T steps (T, R, K), and the discriminator's accuracy (T, R)."""
    chance = torch.Generator().manual_seed(0)
    data_RM = torch.multinomial(mixture().exp().expand(runs, K), ROWS, replacement=True, generator=chance)
    mean_R = torch.full((runs,), (K - 1) / 2, requires_grad=True)
    log_std_R = torch.full((runs,), math.log(2), requires_grad=True)
    scores_RK = torch.zeros(runs, K, requires_grad=True)
    rates = ({"params": [mean_R, log_std_R], "lr": STUDENT_LR}, {"params": [scores_RK], "lr": D_LR})
    optimizer, students, accuracies = torch.optim.Adam(rates), [], []
    for step in range(STEPS):
        adversarial = step >= WARMUP and method != "SeqKD"
        log_q_RK = gaussian(mean_R, log_std_R)
        teacher_RB = data_RM.gather(1, torch.randint(ROWS, (runs, B), generator=chance))
        samples_RS = torch.multinomial(log_q_RK.exp().detach(), B * N, replacement=True, generator=chance)
        teacher = scores_RK.gather(1, teacher_RB).flatten()
        sampled = scores_RK.gather(1, samples_RS).view(-1, N)
        student_loss = -log_q_RK.gather(1, teacher_RB)
        if adversarial:
            advantages_RS = group_advantages(sampled.detach()).view(runs, B * N)
            student_loss = -advantages_RS * log_q_RK.gather(1, samples_RS)
        losses = [student_loss] if step >= ALONE else []
        if not (adversarial and method == "frozen D"):
            losses.append(bradley_terry(teacher, sampled).view(runs, B))
        optimizer.zero_grad()  # to none: what has no loss now stays as it is
        torch.stack([loss.mean(dim=1).sum() for loss in losses]).sum().backward()  # no two share a parameter
        optimizer.step()
        students.append(log_q_RK.detach())
        accuracies.append(discriminator_accuracy(teacher, sampled).detach().view(runs, B).mean(dim=1))
    return torch.stack(students), torch.stack(accuracies)


def least(name: str) -> dict[str, float]:
    """Measures of the student, of all on a grid, for which this one is least."""
    grid = torch.cartesian_prod(torch.linspace(0, K - 1, 181), torch.linspace(-1.5, 2, 141))
    found = measures(gaussian(*grid.T))
    return {each: values[found[name].argmin()].item() for each, values in found.items()}


def seeks(gad: dict[str, Tensor], seqkd: dict[str, Tensor]) -> Tensor:
    """Whether GAD seeks a mode where SeqKD covers both, of each run (R,).

    Each has the lower KL of its own kind; GAD has nine tenths of its mass at one mode, SeqKD at neither more than the
    teacher has at its heavier one.
    """
    crossed = (seqkd[FORWARD] < gad[FORWARD]) & (gad[REVERSE] < seqkd[REVERSE])
    covered = torch.maximum(seqkd[FIRST], seqkd[SECOND]) < max(weight for weight, _, _ in MODES)
    return crossed & covered & (torch.maximum(gad[FIRST], gad[SECOND]) > 0.9)


def experiment(runs: int) -> tuple[dict[str, Any], list[report.Chart]]:
    """The numbers, ready for JSON, and the charts."""
    trained = {method: train(method, runs) for method in METHODS}
    curves = {method: {**measures(log_q), APART: apart} for method, (log_q, apart) in trained.items()}
    figures = {
        method: {name: steps_TR[-LAST:].mean(dim=0) for name, steps_TR in found.items()}
        for method, found in curves.items()
    }
    numbers = {
        "runs": runs, "seeks": int(seeks(figures["GAD"], figures["SeqKD"]).sum()),
        "methods": {
            method: {name: summary(values_R) for name, values_R in found.items()}
            for method, found in figures.items()
        },
        "beside": {
            "teacher": {name: value.item() for name, value in measures(mixture()).items()},
            **{f"least {name}": least(name) for name in (FORWARD, REVERSE)},
        },
    }  # fmt: skip
    shapes = {
        **{method: log_q_TRK[-1, 0] for method, (log_q_TRK, _) in trained.items()},
        "teacher": mixture(),
    }
    lines = {name: points(log_p.exp()) for name, log_p in shapes.items()}
    first = report.Chart(title="Probability, first run", lines=lines, x_label="category")
    return numbers, [first, *(curve(name, curves) for name in (REVERSE, WIDTH, BETWEEN, APART))]


def summary(values_R: Tensor) -> dict[str, float]:
    low, high = stats.bootstrap_mean([[value] for value in values_R.tolist()], seed=0)
    return {"mean": values_R.mean().item(), "low": low, "high": high}


def curve(name: str, curves: dict[str, dict[str, Tensor]]) -> report.Chart:
    blocks = {method: found[name].view(STEPS // BLOCK, -1) for method, found in curves.items()}
    lines = {method: points(values.mean(dim=1), BLOCK) for method, values in blocks.items()}
    return report.Chart(title=name, lines=lines)


def points(values: Tensor, apart: int = 1) -> list[report.Point]:
    return [(float(at * apart), round(value, 3)) for at, value in enumerate(values.tolist())]


def show(numbers: dict[str, Any]) -> None:
    methods, beside = numbers["methods"], numbers["beside"]
    print(f"| | {' | '.join([*methods, *beside])} |\n{'|---' * (1 + len(methods) + len(beside))}|")
    for name in methods["GAD"]:
        cells = ["{mean:.3f} [{low:.3f}, {high:.3f}]".format(**found[name]) for found in methods.values()]
        cells += [f"{found[name]:.3f}" if name in found else "" for found in beside.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="each with its own samples of the teacher")
    parser.add_argument("--out", type=Path, default=Path("runs/gad_toy.html"), help="page of charts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.runs < 1:
        parser.error("--runs is at least 1")
    start = time.perf_counter()
    numbers, charts = experiment(args.runs)
    numbers["seconds"] = time.perf_counter() - start
    verdict = f"SeqKD covers both modes and GAD seeks one in {numbers['seeks']} of {args.runs} runs."
    curves = f"Curves are means of the runs; the first {WARMUP} steps are the warm-up."
    write_atomic(args.out, report.page("GAD's toy experiment", f"{verdict} {curves}", charts))
    if args.json:
        print(json.dumps(numbers, indent=2, ensure_ascii=False))
    else:
        show(numbers)
        print(f"\n{verdict} {numbers['seconds']:.1f} s; {args.out}")


if __name__ == "__main__":
    main()

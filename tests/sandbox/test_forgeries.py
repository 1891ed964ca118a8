"""Every kind of forgery at both accepted levels: none passes, and the right program beside each does.

`make test` takes an even sample of the cross product of kinds and forms, `make soak` the whole of it.
"""

from __future__ import annotations

import pytest

from sandbox import Sandbox, forgeries
from sandbox.forgeries import FORMS, KINDS

STRIDE = 17
"""One in so many of the forms for each kind, another choice for the next."""


def _shortcomings(box: Sandbox, kind: str, stride: int, fail_fast: bool = False) -> list[str]:
    of_kind = [each for each in forgeries.programs(stride) if each.name.startswith(f"{kind}/")]
    assert of_kind
    return [problem for each in of_kind for problem in forgeries.shortcomings(box, each, fail_fast)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_forgery_passes_and_every_control_does(kind: str, level_box: Sandbox) -> None:
    assert _shortcomings(level_box, kind, STRIDE) == []


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_no_forgery_passes_in_any_form(kind: str, level_box: Sandbox) -> None:
    assert _shortcomings(level_box, kind, 1, fail_fast=level_box.level == "L2") == []


def test_the_kinds_that_stand_beside_the_tests_get_there(level_box: Sandbox) -> None:
    forgery = forgeries.forgery("mutes_the_asker", "beside")
    report = level_box.check(forgery.solution + "\nprint('found', A is not None)", forgery.tests, "f")
    assert (report.mode, report.stdout) == ("in-process", "found True\n")


def test_nobody_has_emptied_the_product() -> None:
    names = [forgery.name for forgery in forgeries.programs()]
    expected = sum(len(kind.forms) or len(FORMS) for kind in KINDS.values())
    assert len(KINDS) >= 92
    assert len(FORMS) >= 57
    assert len(set(names)) == len(names) == expected


def test_none_may_pass() -> None:
    assert all("pass" not in forgery.status.split("|") for forgery in forgeries.programs())


def test_the_sample_has_every_kind_and_every_form() -> None:
    sampled = [forgery.name.split("/") for forgery in forgeries.programs(STRIDE)]
    assert {kind for kind, _ in sampled} == KINDS.keys()
    assert {form for _, form in sampled} == FORMS.keys()

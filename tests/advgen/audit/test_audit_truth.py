"""What a set says of its own labels."""

import json
import math

import pytest

from advgen import audit


def findings(tmp_path, *probabilities):
    rows = [
        {"prompt": f"p{at}", "chosen": f"good {at}", "rejected": f"bad {at}"}
        | ({} if p is None else {"p_true": p})
        for at, p in enumerate(probabilities)
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [each for each in audit.audit(str(tmp_path / "set.jsonl")).findings if each.check == "truth"]


@pytest.mark.parametrize(
    ("probabilities", "severity", "unlikely"),
    [([0.9, 0.8], "info", []), ([0.9, 0.45, 0.9], "warning", [1]), ([0.2, 0.6], "error", [0])],
)
def test_a_set_of_which_too_much_is_expected_to_be_wrong_is_unfit(
    tmp_path, probabilities, severity, unlikely
):
    (found,) = findings(tmp_path, *probabilities)
    assert (found.severity, list(found.rows)) == (severity, unlikely)
    assert found.number == pytest.approx(1 - sum(probabilities) / len(probabilities))


def test_a_set_that_says_nothing_of_its_labels_is_asked_nothing(tmp_path):
    assert findings(tmp_path, None, math.nan) == []

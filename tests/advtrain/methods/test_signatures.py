"""The signs by which AKD's loop goes wrong without an error, each with its numbers."""

from advtrain import encoding
from advtrain.methods import margins
from advtrain.methods.losses import Signature


def signature(mean=0.5, std=0.2, count=50, near_zero=0.0):
    return Signature(
        count=count, mean=mean, std=std, accuracy=1.0, near_zero=near_zero, loss=0.5, effective_samples=40.0
    )


def test_a_sound_round_is_not_warned_about():
    assert margins.warnings(signature(), signature(mean=0.52), copies=2, exercises=50) == []
    assert margins.warnings(signature(), None, copies=0, exercises=50) == []


def test_margins_without_signal_are_named_with_their_share():
    (found,) = margins.warnings(signature(near_zero=0.75), None, 0, 50)
    assert found.startswith("75% of the margins are within 0.001 of zero")


def test_a_drop_is_told_only_beyond_chance():
    (found,) = margins.warnings(signature(mean=0.3), signature(mean=0.5), 0, 50)
    assert found == "the mean margin fell from +0.5000 to +0.3000 since the round before"
    assert margins.warnings(signature(mean=0.3, count=4), signature(mean=0.5, count=4), 0, 50) == []


def test_near_copies_are_counted_once_an_exercise():
    def example(name, words):
        prompt = [{"role": "user", "content": " ".join(f"word{number}" for number in words)}]
        return encoding.Example(
            exercise_id=name, prompt=[0], completions=([1, 2], [3]), truncated=False, dropped=False,
            messages=prompt, replies=(encoding.Reply("def f", True), encoding.Reply("def g", True)),
        )  # fmt: skip

    first, other = list(range(100, 160)), list(range(300, 360))
    reworded = [*first[:30], 7, *first[31:]]
    examples = [example("a", first), example("a", first), example("b", other), example("c", reworded)]
    assert margins.near_copies(examples) == 1
    assert margins.near_copies([example("a", first), example("b", other)]) == 0
    (found,) = margins.warnings(signature(), None, copies=20, exercises=50)
    assert found == "20 of 50 exercises are near-copies of earlier ones"

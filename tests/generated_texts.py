"""Texts of random words, and copies of them with some words changed."""

VOCABULARY = [f"word{number}" for number in range(2_000)]


def text(rng, length=60):
    return " ".join(rng.choices(VOCABULARY, k=length))


def edited(rng, original, share):
    return " ".join(rng.choice(VOCABULARY) if rng.random() < share else word for word in original.split())

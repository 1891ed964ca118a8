"""The data side: a teacher writes exercises, a sandbox verifies them, a student fails at them, pairs come out.

Reading order: `cli` -> `config` -> `pipeline` -> one module per noun. Never imports `advtrain`.
"""

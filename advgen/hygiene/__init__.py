"""What keeps the data clean, measured once: gates and audit ask the same objects. Runs no program, decides nothing.

`duplicates` (on `advcore.near_copies`) says what was there before, `contamination` (with `items`, `behaviour`) what is
a benchmark's, `features` what can be seen of a program's form; `normal` holds the forms in which texts and programs are
compared, `pairs` what a preference pair is to all of them.
"""

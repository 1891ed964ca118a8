"""What keeps the data clean: normal forms, duplicates, near copies, benchmark contamination. Runs no program."""

"""What every method shares around a TRL trainer: its options, the order of its rows, checkpoints, the log."""

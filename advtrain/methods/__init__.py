"""One training method a file or room."""

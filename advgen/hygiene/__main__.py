"""`python -m advgen.hygiene FILE...` makes the shipped file of hashes from benchmark files; run in a checkout."""

import sys
from pathlib import Path

from advcore.settings import shipped
from advgen.hygiene.contamination import SHIPPED, Benchmarks, packed


def main(names: list[str]) -> int:
    """Exit code 2 without files."""
    if not names:
        print(__doc__, file=sys.stderr)
        return 2
    data = packed(Benchmarks.from_files(map(Path, names)))
    shipped(SHIPPED).write_bytes(data)
    print(f"{SHIPPED}: {len(data):,} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

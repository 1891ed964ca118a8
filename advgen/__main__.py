"""`python -m advgen`: the `advgen` command."""

import sys

from advgen.cli import main

if __name__ == "__main__":
    sys.exit(main())

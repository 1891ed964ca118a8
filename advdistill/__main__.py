"""`python -m advdistill`: the `advdistill` command."""

import sys
from pathlib import Path

# `-m` puts the working folder first, and a package `sandbox` of somebody else's may lie there.
sys.path.insert(0, str(Path(__file__).parents[1]))

from advdistill.cli import main

if __name__ == "__main__":
    sys.exit(main())

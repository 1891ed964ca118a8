"""`python -m advtrain`, the form that `accelerate launch -m` needs."""

import sys
from pathlib import Path

# `-m` puts the working folder first, and a package `sandbox` of somebody else's may lie there.
sys.path.insert(0, str(Path(__file__).parents[1]))

from advtrain.cli import main

sys.exit(main())

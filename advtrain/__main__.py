"""`python -m advtrain`, the form that `accelerate launch -m` needs."""

import sys

from advtrain.cli import main

sys.exit(main())

"""The whole way once on the embedded models: build, train, margins, an adversarial round, train, evaluate.

Usage: python quickstart.py [RUNS]. Calling it again redoes nothing that is done. No key and no GPU are needed.
"""

import sys
from pathlib import Path

import advdistill as ad
from advcore.engine import weights
from advdistill import summary

here = Path(__file__).parent
for name in ("teacher", "student"):
    weights.fetch(name)

# Tasks with tests first: what a teacher this small writes by itself is as often wrong as right.
first = ad.load(ad.BuildConfig, here / "quickstart.toml")
later = ad.load(ad.BuildConfig, here / "quickstart.toml", ["exercises.count=9"])
out = sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart"
done = ad.rounds([first, later], here / "quickstart_dpo.toml", out, count=2, tasks="shipped")
summary.show(done)
print(summary.write(done))

"""A seed round and two adversarial rounds on the embedded models, then all that can be said of their truth.

Usage: python rounds.py [RUNS]. Every row is run again, the pairs are audited, the verifier's own error rates are
measured, and the first round is built once more: without repair, and for a student of another family. Every step
resumes; hours on two CPU cores. With HUMANEVAL=FILE it also measures how often agreement is wrong.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import advdistill as ad
from advcore import runs
from advdistill import summary

here, out = Path(__file__).parent, Path(sys.argv[1] if len(sys.argv) > 1 else "runs/rounds")
build = here / "rounds.toml"
done = ad.rounds(build, here / "quickstart_dpo.toml", out, evaluate=0)
last = done.rounds[-1].build

verified = ad.verify(last)
print(f"{len(verified.lost)} of {sum(verified.rows.values())} rows do not reproduce", file=sys.stderr)
runs.write_json(out / "audit.json", ad.audit(last).as_json())

known = []
if benchmark := os.environ.get("HUMANEVAL"):
    asked = ["advgen", "consensus", build, "--benchmark", benchmark, "--out", out / "consensus"]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
    known = ["--consensus", out / "consensus"]
rates = subprocess.run(["advgen", "calibrate", last.path, *known], check=True, capture_output=True, text=True)
runs.write_atomic(out / "calibration.json", rates.stdout)

# The journal has all replies that do not depend on what is changed.
for name, change in (
    ("no-feedback", "exercises.feedback=false"),
    ("small-student", "student.model=local/student-small"),
):
    if not (out / name / "journal.sqlite").exists():
        (out / name).mkdir(exist_ok=True)
        shutil.copy(done.rounds[0].build.path / "journal.sqlite", out / name / "journal.sqlite")
    again = ad.build(ad.load(ad.BuildConfig, build, [change]), out / name)
    print(f"{name}: {again.kept} of {again.asked} kept, {len(again.pairs)} pairs", file=sys.stderr)
summary.show(done)
print(summary.write(done))

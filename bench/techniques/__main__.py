"""python -m bench.techniques: what each technique does to real tasks.

PARETUNE_DATA=FOLDER python -m bench.techniques             all of it, about an hour
python -m bench.techniques --quick                          a smoke run
PARETUNE_DATA=FOLDER python -m bench.techniques int8        one part

Finished steps are kept, so a run that was stopped goes on where it was. Settings were
chosen on validation data; every recipe in a table is certified on the test split.
"""

from __future__ import annotations

from bench._results import command
from bench.techniques import coding, distil, int8, labels, pruning, qat, small

PARTS = {
    "int8": int8.run,
    "qat": qat.run,
    "pruning": pruning.run,
    "distil": distil.run,
    "small": small.run,
    "coding": coding.run,
    "labels": labels.run,
}


if __name__ == "__main__":
    command("techniques", __doc__, PARTS)

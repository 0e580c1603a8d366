"""python -m bench.main_job: the figures of the main job.

python -m bench.main_job --quick           a smoke run
python -m bench.main_job prefix            one part
"""

from __future__ import annotations

from bench._results import command
from bench.main_job import demo, footprint, kill, prefix, startup

PARTS = {
    "demo": demo.run,
    "prefix": prefix.run,
    "footprint": footprint.run,
    "kill": kill.run,
    "startup": startup.run,
}


if __name__ == "__main__":
    command("main_job", __doc__, PARTS)

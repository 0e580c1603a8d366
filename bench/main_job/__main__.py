"""python -m bench.main_job: the figures of the main job.

python -m bench.main_job --quick           a smoke run
python -m bench.main_job prefix            one part
"""

from __future__ import annotations

import argparse
import functools

from bench._results import Results
from bench.main_job import demo, footprint, kill, prefix, startup

PARTS = {
    "demo": demo.run,
    "prefix": prefix.run,
    "footprint": footprint.run,
    "kill": kill.run,
    "startup": startup.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    results = Results("main_job", asked.quick)
    for name in asked.parts or PARTS:
        results.part(name, functools.partial(PARTS[name], results, asked.quick))


if __name__ == "__main__":
    main()

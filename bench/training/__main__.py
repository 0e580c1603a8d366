"""python -m bench.training: how fast models train here, and what pays.

PARETUNE_DATA=DIR python -m bench.training    all parts, about ten minutes
python -m bench.training --quick              a smoke run
python -m bench.training loop                 one part

It needs a machine that does nothing else: which of the ways is fastest turns around
under load.
"""

from __future__ import annotations

from bench._results import command
from bench.training import compiled, loop, sizes, workers

PARTS = {
    "loop": loop.run,
    "sizes": sizes.run,
    "workers": workers.run,
    "compiled": compiled.run,
}


if __name__ == "__main__":
    command("training", __doc__, PARTS)

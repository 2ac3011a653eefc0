"""Trains the inverse `mini` on from the weights before, then its detail network: how the embedded weights were made.

    python examples/continue_mini.py WORLDS --start MODEL -o RUNS [--hours 1.25] [--detail-hours 0.28]

WORLDS is a folder of `unrender synth` (docs/mini.md). Stopped, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from unrender.train.detail import RECIPES as DETAIL_RECIPES
from unrender.train.detail import train_detail
from unrender.train.e2e import RECIPES, train_e2e
from unrender.train.packed import packed
from unrender.train.recipe import Stage
from unrender.train.start import Start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", type=Path)
    parser.add_argument("--start", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=1.25)
    parser.add_argument("--detail-hours", type=float, default=0.28)
    given = parser.parse_args()
    stills = packed(given.out / "cache", [given.worlds], None)

    long = RECIPES["long"]
    stages = (Stage(0.3, 64, 16), Stage(0.45, 128, 8), Stage(0.25, 160, 6))
    config = replace(long.config, stages=stages, hours=given.hours, ema_decay=0.999)
    model = train_e2e(
        replace(long, config=config, start=Start(model=given.start, scratch=True)), stills, given.out / "inverse"
    )

    detail = DETAIL_RECIPES["mini"]
    stages = (Stage(0.6, 128, 8), Stage(0.4, 160, 5))
    config = replace(detail.config, steps=1_000_000, stages=stages, hours=given.detail_hours, ema_decay=0.998)
    print(train_detail(replace(detail, config=config, start=Start(model=str(model))), stills, given.out / "detail"))


if __name__ == "__main__":
    main()

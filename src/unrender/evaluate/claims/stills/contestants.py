"""The contestants on pictures."""

from dataclasses import replace

from unrender.evaluate.claims.contestant import Contestant

FLAT = Contestant("flat answer: one depth, each picture's mean normal", "inverse", ())
ENSEMBLE = Contestant("multi-step, 50 steps x 10", "inverse", ("inverse-multi",), steps=50, ensemble_size=10)
LEADING = Contestant("multi-step, 1 step, leading", "inverse", ("inverse-multi",), steps=1, spacing="leading")
TRAILING = Contestant("multi-step, 1 step, trailing", "inverse", ("inverse-multi",), steps=1, spacing="trailing")
INVERSE_50 = Contestant("multi-step inverse, 50 steps", "inverse", ("inverse-multi",), steps=50)
ZEROS = Contestant("end-to-end inverse, 1 step, zeros", "inverse", ("inverse-e2e",))
GAUSSIAN = Contestant("end-to-end inverse, 1 step, Gaussian", "inverse", ("inverse-e2e-gaussian",))
MULTI_RESOLUTION = Contestant("end-to-end inverse, 1 step, multi-resolution", "inverse", ("inverse-e2e-multi",))

FORWARD_50 = Contestant("multi-step forward, 50 steps", "forward", ("forward-multi",), steps=50)
FORWARD_1 = Contestant("end-to-end forward, 1 step", "forward", ("forward-e2e",))
SPLIT_SUM = Contestant("split sum", "forward", ("deferred:split_sum",))
SCREEN_SPACE = Contestant("screen-space ray tracing", "forward", ("deferred:screen_space",))

RELIT = Contestant("end-to-end maps, end-to-end forward", "relight", ("inverse-e2e", "forward-e2e"))
RELIT_SPLIT_SUM = Contestant("end-to-end maps, split sum", "relight", ("inverse-e2e", "deferred:split_sum"))
RELIT_SCREEN_SPACE = Contestant("end-to-end maps, screen space", "relight", ("inverse-e2e", "deferred:screen_space"))

_APART = ("inverse-e2e", "forward-e2e")
APART = Contestant("before either", "photo_cycle", _APART)
CYCLE = Contestant("with cycle training", "photo_cycle", ("cycle/inverse", "cycle/forward"))
NO_CYCLE = Contestant("without it, trained as long", "photo_cycle", ("cycle-none/inverse", "cycle-none/forward"))
CYCLE_PHOTOS = Contestant("with it, and real photos", "photo_cycle", ("cycle-photos/inverse", "cycle-photos/forward"))
"""Scores of the contestants on 32 held-out scenes by `unrender evaluate claims`: depth AbsRel, mean normal angle, and
seconds a picture on two cores of an AMD EPYC. Models: commands of examples/train_mini.sh, data of docs/mini.md.

FLAT 25.2 %, 29.9 deg; ENSEMBLE 14.9 %, 32 deg, 11 s; LEADING 15.5 %, 32.9 deg, 0.099 s; TRAILING 13.7 %, 31.7 deg,
0.099 s; INVERSE_50 15.4 %, 35.9 deg, 1.08 s; ZEROS 13 %, 29.8 deg, 0.098 s; GAUSSIAN and MULTI_RESOLUTION 13.2 %,
30.3 deg. PSNR (sRGB): FORWARD_50 18.6 dB, FORWARD_1 20.5 dB, SPLIT_SUM 20.6 dB, SCREEN_SPACE 23.5 dB; RELIT 13.8 dB,
RELIT_SPLIT_SUM and RELIT_SCREEN_SPACE 13.6 dB; APART 22.2 dB, CYCLE 21.3 dB, NO_CYCLE 20.9 dB, CYCLE_PHOTOS 21.4 dB.
Protocol and data: docs/results.md."""


def on_maps(pair: Contestant) -> Contestant:
    """The same pair, the other way round: maps -> photo -> maps."""
    return replace(pair, task="maps_cycle")


def on_real_photos(pair: Contestant) -> Contestant:
    """The same pair, on real photos."""
    return replace(pair, task="real_photo_cycle")

"""Low-discrepancy random numbers: Owen-scrambled Sobol' pairs by hashing alone, for any sample of any lane.

A sampler that counts samples in lockstep cannot serve lanes that begin their next paths at different times.
"""

from __future__ import annotations

from typing import Any

_FRACTION = 2.0**-24


def scrambled_pair(index: Any, seed: Any) -> tuple[Any, Any]:
    """Point `index` (UInt32) of a two-dimensional sequence in [0, 1)^2; each `seed` (UInt32) is a sequence of its own.

    Any 2^k points from the first on are stratified in every way that a (0, 2)-sequence is. The order is shuffled too,
    so that pairs of different seeds can be used side by side (Burley, Practical Hash-based Owen Scrambling, 2020).
    """
    import drjit as dr

    shuffled = dr.brev(_owen(dr.brev(index), seed))
    return (
        _fraction(dr.brev(_owen(shuffled, hashed(seed ^ 0x9E3779B9)))),
        _fraction(dr.brev(_owen(_second_dimension(shuffled), hashed(seed ^ 0x85EBCA6B)))),
    )


def uniform(seed: Any) -> Any:
    """A number in [0, 1) that follows from `seed` (UInt32)."""
    return _fraction(hashed(seed))


def hashed(x: Any) -> Any:
    """A well mixed UInt32 (Wellons' lowbias32)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


def _owen(x: Any, seed: Any) -> Any:
    """Owen's scrambling of bits that are reversed, the first at the bottom (Laine and Karras, 2011)."""
    x = x + seed
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        x = x ^ (x * factor)
    return x


def _second_dimension(x: Any) -> Any:
    """Sobol's second dimension, bits reversed: x as a polynomial over GF(2), taken at 1 + t."""
    for mask, shift in ((0xFFFF0000, 16), (0xFF00FF00, 8), (0xF0F0F0F0, 4), (0xCCCCCCCC, 2), (0xAAAAAAAA, 1)):
        x = x ^ ((x & mask) >> shift)
    return x


def _fraction(bits: Any) -> Any:
    import mitsuba as mi

    return mi.Float(bits >> 8) * _FRACTION

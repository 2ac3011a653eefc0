"""Many pieces of work: in this process, in several of this machine, or on a Ray cluster, with the same results.

A verb says what is done to an item (`Work`) and hands over items; an executor runs them. It knows no pictures.
"""

from unrender.scale.cluster import RayCluster
from unrender.scale.local import Inline, Processes
from unrender.scale.parts import WHOLE, Part
from unrender.scale.work import Executor, ItemOutcome, Needs, Work

__all__ = ["WHOLE", "Executor", "Inline", "ItemOutcome", "Needs", "Part", "Processes", "RayCluster", "Work"]

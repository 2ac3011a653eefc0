"""What contestants are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unrender.evaluate.claims.clips.contest import ClipCase
from unrender.evaluate.claims.contestant import Kind, Task
from unrender.evaluate.claims.insertions.pairs import InsertionCase
from unrender.evaluate.scenes import Scene
from unrender.multiview.rendered import RenderedSet
from unrender.scene.frames import Frames

WORDS: dict[Kind, str] = {
    "pictures": "pictures",
    "relit": "pictures",
    "photos": "real photos",
    "pairs": "insertion pairs",
    "views": "sets of views",
    "clips": "clips",
    "relit_clips": "clips",
}
"""What the items of each kind are called."""


@dataclass(frozen=True)
class Items:
    """All of it was held out of training; any of it may be missing.

    Attributes:
        scenes: frames with ground truth.
        photos: real ones.
        pairs: photos with and without an object.
        views: sets of views of one subject each.
        clips: of several frames, with ground truth.
    """

    scenes: Sequence[Scene] = ()
    photos: Sequence[Frames] = ()
    pairs: Sequence[InsertionCase] = ()
    views: Sequence[RenderedSet] = ()
    clips: Sequence[ClipCase] = ()

    @property
    def relit(self) -> list[Scene]:
        """The scenes that are there under another light, too."""
        return [scene for scene in self.scenes if scene.relit is not None]

    @property
    def relit_clips(self) -> list[ClipCase]:
        """The clips that are there under another light, too."""
        return [case for case in self.clips if case.relit is not None]

    def of(self, kind: Kind) -> Sequence[Any]:
        """The items of a kind."""
        everything: dict[Kind, Sequence[Any]] = {
            "pictures": self.scenes,
            "relit": self.relit,
            "photos": self.photos,
            "pairs": self.pairs,
            "views": self.views,
            "clips": self.clips,
            "relit_clips": self.relit_clips,
        }
        return everything[kind]

    def lacks(self) -> dict[Task, str]:
        """What is missing for a task, and how to get it; tasks that lack nothing are not in it."""
        none = "" if self.scenes else "no pictures: `--data DIR` of `unrender synth --split test`"
        lit = all(scene.truth.irradiance is not None for scene in self.scenes)
        missing: dict[Task, str] = {
            "inverse": none,
            "forward": none,
            "photo_cycle": none,
            "relight": none or ("" if self.relit else "the set has no frames under another light"),
            "maps_cycle": none or ("" if lit else "the set has no irradiance"),
            "real_photo_cycle": "" if self.photos else "no real photos: `--photos DIR`",
            "insert": "" if self.pairs else "no insertion pairs: `--pairs DIR` of `unrender synth --insertion`",
        }
        sets = "" if self.views else "no sets of views: `--views DIR` of `unrender synth --split test --cameras 8`"
        missing |= {"views": sets, "view_path": sets}
        clips = "" if self.clips else "no clips: `--video DIR` of `unrender synth --split test --frames 8 --lights 1`"
        missing |= {"video_inverse": clips, "video_forward": clips}
        missing["video_relight"] = clips or ("" if self.relit_clips else "the clips have no frames under another light")
        return {task: reason for task, reason in missing.items() if reason}

    def counts(self) -> dict[str, int]:
        """How many there are, by what they are called."""
        return {
            "pictures": len(self.scenes),
            "with cast shadows": sum(scene.shadowed for scene in self.scenes),
            "under another light": len(self.relit),
            "real photos": len(self.photos),
            "insertion pairs": len(self.pairs),
            "sets of views": len(self.views),
            "clips": len(self.clips),
            "clips with cast shadows": sum(case.shadowed for case in self.clips),
            "clips under another light": len(self.relit_clips),
        }

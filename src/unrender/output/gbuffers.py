"""G-buffers of clips to files, as they come."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from unrender.files.layers import Profile
from unrender.files.sequences import GBufferWriter
from unrender.output.contact_sheet import write_contact_sheet
from unrender.scene.gbuffer import GBuffer


def write_gbuffer_stream(
    path: str | Path | None,
    gbuffers: Iterable[GBuffer],
    *,
    profile: Profile = "unrender",
    contact_sheet: str | Path | None = None,
    first: int = 1,
    colorspace: str | None = None,
) -> None:
    """Writes the G-buffers of a still or clip as they come, and a picture of the first one's maps.

    Args:
        path: name.exr of a still, name.####.exr of a clip; None for none.
        gbuffers: in order, of one or several frames each.
        profile: whose channel names the EXR carries.
        contact_sheet: where the first frame's maps are shown (.png); None for nowhere.
        first: number of the first frame.
        colorspace: the linear space of the EXR, by OpenColorIO's name; Rec.709.

    Raises:
        UserError: several frames for one file, or an output that cannot be written.
    """
    with ExitStack() as stack:
        writer = None
        if path is not None:
            writer = stack.enter_context(GBufferWriter(path, profile=profile, first=first, colorspace=colorspace))
        for index, gbuffer in enumerate(gbuffers):
            if writer is not None:
                writer.write(gbuffer)
            if index == 0 and contact_sheet is not None:
                write_contact_sheet(contact_sheet, gbuffer)

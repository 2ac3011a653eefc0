"""Results to files: any noun by one verb, and clips of any length frame by frame.

`write` takes what is held whole. For what comes frame by frame there are `PassesWriter`, and `write_passes_stream`,
`write_gbuffer_stream` and `write_relit_stream`, which take iterators and hold no more than what they were given last.
"""

from unrender.output.contact_sheet import write_contact_sheet
from unrender.output.gbuffers import write_gbuffer_stream
from unrender.output.passes import PassesWriter, PictureFormat, passes_paths, write_passes, write_passes_stream
from unrender.output.relit import RelitPaths, write_relit_stream
from unrender.output.views import write_views
from unrender.output.writing import write

__all__ = [
    "PassesWriter",
    "PictureFormat",
    "RelitPaths",
    "passes_paths",
    "write",
    "write_contact_sheet",
    "write_gbuffer_stream",
    "write_passes",
    "write_passes_stream",
    "write_relit_stream",
    "write_views",
]

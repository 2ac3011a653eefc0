"""Results to files: any noun by one verb, and clips of any length frame by frame.

`write` takes what is held whole. For what comes frame by frame there are `PassesWriter`, and `write_passes_stream`,
`write_gbuffer_stream` and `write_relit_stream`, which take iterators and hold no more than what they were given last.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.output.contact_sheet import write_contact_sheet as write_contact_sheet
    from unrender.output.gbuffers import write_gbuffer_stream as write_gbuffer_stream
    from unrender.output.passes import PassesWriter as PassesWriter
    from unrender.output.passes import PictureFormat as PictureFormat
    from unrender.output.passes import passes_paths as passes_paths
    from unrender.output.passes import write_passes as write_passes
    from unrender.output.passes import write_passes_stream as write_passes_stream
    from unrender.output.relit import RelitPaths as RelitPaths
    from unrender.output.relit import write_relit_stream as write_relit_stream
    from unrender.output.views import write_views as write_views
    from unrender.output.writing import write as write

_HOMES = {
    "contact_sheet": ("write_contact_sheet",),
    "gbuffers": ("write_gbuffer_stream",),
    "passes": ("PassesWriter", "PictureFormat", "passes_paths", "write_passes", "write_passes_stream"),
    "relit": ("RelitPaths", "write_relit_stream"),
    "views": ("write_views",),
    "writing": ("write",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)

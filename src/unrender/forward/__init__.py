"""G-buffer + light -> picture."""

from unrender.forward.deferred import DeferredRenderer
from unrender.forward.geometry import calibrate_depth
from unrender.forward.options import ForwardOptions
from unrender.forward.prepared import PreparedSplitSum
from unrender.forward.renderer import ForwardRenderer
from unrender.forward.surface import RenderPasses
from unrender.forward.transport import transport_matrix

__all__ = [
    "DeferredRenderer",
    "ForwardOptions",
    "ForwardRenderer",
    "PreparedSplitSum",
    "RenderPasses",
    "calibrate_depth",
    "transport_matrix",
]

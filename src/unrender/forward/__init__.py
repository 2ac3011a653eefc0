"""G-buffer + light -> picture."""

from unrender.forward.deferred import DeferredRenderer
from unrender.forward.geometry import calibrate_depth
from unrender.forward.renderer import ForwardRenderer
from unrender.forward.surface import LightGroups
from unrender.forward.transport import transport_matrix
from unrender.forward.wish import Wish

__all__ = [
    "DeferredRenderer",
    "ForwardRenderer",
    "LightGroups",
    "Wish",
    "calibrate_depth",
    "transport_matrix",
]

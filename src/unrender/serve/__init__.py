"""The same jobs over HTTP, for programs on this machine (`unrender serve`): files in, a job by its verb, files out.

`create_app` makes the service as an ASGI application; `docs/serve.md` has the routes.
"""

from typing import TYPE_CHECKING

from unrender.lazy import lazy_names

if TYPE_CHECKING:
    from unrender.serve.app import create_app as create_app
    from unrender.serve.settings import Limits as Limits
    from unrender.serve.settings import ServeSettings as ServeSettings

_HOMES = {"app": ("create_app",), "settings": ("Limits", "ServeSettings")}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)

"""Which Mitsuba variant really renders on this machine.

`mi.variants()` lists variants that cannot run, and a wrong libLLVM aborts the whole process at the first render, which
no `except` catches. So each candidate renders a tiny scene in a process of its own, once; the answer is kept in the
user's cache folder under the versions and libraries it depends on.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from unrender.errors import UserError

CANDIDATES = ("cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb")
OVERRIDE = "UNRENDER_MITSUBA_VARIANT"

_PROBE = """
import sys
import mitsuba as mi
mi.set_variant(sys.argv[1])
scene = mi.load_dict({
    "type": "scene", "integrator": {"type": "path", "max_depth": 3}, "emitter": {"type": "constant"},
    "shape": {"type": "sphere", "bsdf": {"type": "principled"}},
    "sensor": {"type": "perspective", "film": {"type": "hdrfilm", "width": 4, "height": 4},
               "to_world": mi.ScalarTransform4f().look_at([0, 0, 4], [0, 0, 0], [0, 1, 0])},
})
picture = mi.TensorXf(mi.render(scene, spp=4))
sys.exit(0 if sum(picture.array) > 0 else 1)
"""


def renders(name: str) -> bool:
    """Whether variant `name` renders a 4x4 picture, tried in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PROBE, name], capture_output=True, check=False, timeout=300)
    return done.returncode == 0


@functools.cache
def variant() -> str:
    """The fastest variant that renders here: CUDA, LLVM or scalar; UNRENDER_MITSUBA_VARIANT overrides the choice.

    Raises:
        UserError: no variant renders, or the one that was chosen is none of Mitsuba's.
    """
    if chosen := os.environ.get(OVERRIDE):
        return _known(chosen)
    cache = _cache_file()
    if cache.exists():
        return json.loads(cache.read_text())["variant"]
    for name in CANDIDATES:
        if renders(name):
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary = cache.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps({"variant": name}))
            temporary.replace(cache)
            return name
    raise UserError(f"Mitsuba {version('mitsuba')} renders with none of {', '.join(CANDIDATES)} on this machine")


def use() -> str:
    """Makes the chosen variant Mitsuba's current one and returns its name."""
    import drjit as dr
    import mitsuba as mi

    if mi.variant() != variant():
        mi.set_variant(variant())
        mi.set_log_level(mi.LogLevel.Error)
        # Two processes that compile the same kernel at once would have the slower one warn that it is in the cache.
        dr.set_log_level(dr.LogLevel.Error)
    return variant()


def _known(name: str) -> str:
    import mitsuba as mi

    if name not in mi.variants():
        raise UserError(f"{OVERRIDE} is {name!r}, which this Mitsuba lacks; it has {', '.join(mi.variants())}")
    return name


def _cache_file() -> Path:
    facts = (version("mitsuba"), version("drjit"), sys.version, sys.prefix, os.environ.get("DRJIT_LIBLLVM_PATH", ""))
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return root / "unrender" / f"mitsuba-{key}.json"

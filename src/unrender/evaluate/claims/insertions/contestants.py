"""The contestants that put an object into a photo: each finds the light in a way of its own."""

from unrender.evaluate.claims.contestant import Contestant

_BASE = ("text-to-image",)

UNCHANGED = Contestant("direct: the photo unchanged", "insert", (), way="unchanged")
TRUE_LIGHT = Contestant("direct: the true light", "insert", (), way="true")
CONSTANT = Contestant("constant light, the photo's mean", "insert", (), way="constant")
MIRRORED = Contestant("the photo mirrored as light", "insert", (), way="mirrored")
ESTIMATED = Contestant("the light that relighting estimates", "insert", (), way="estimated")
SHADING = Contestant("the light fitted to the photo's shading", "insert", (), way="shading")

LDS = Contestant("guided: LDS, adapters, preservation, tones, fusion", "insert", _BASE, way="lds")
SDS = Contestant("guided: SDS without adapters", "insert", _BASE, way="sds")
SDS_ADAPTED = Contestant("guided: SDS with adapters", "insert", _BASE, way="sds-adapted")
NO_PRESERVATION = Contestant("guided: no concept preservation", "insert", _BASE, way="no-preservation")
NO_TONES = Contestant("guided: no tone curves", "insert", _BASE, way="no-tones")
NO_FUSION = Contestant("guided: no fusion, one light from the start", "insert", _BASE, way="no-fusion")

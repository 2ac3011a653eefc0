"""The contestants on sets of views, of which the first is given."""

from dataclasses import replace

from unrender.evaluate.claims.contestant import Contestant

VIEWS = Contestant("one picture to all views, together", "views", ("views",))
NO_PROJECTION = Contestant("without projection layers", "views", ("views-no-projection",))
NO_CROSS_FRAME = Contestant("without attention between views", "views", ("views-no-cross-frame",))
ALONE = Contestant("each view alone", "views", ("views",), way="alone")
REPEATED = Contestant("the given picture for every view", "views", (), way="given")
SHUFFLED = Contestant("bound: the true pictures, each at another camera", "views", (), way="shuffled")
TRUTH = Contestant("bound: the true pictures", "views", (), way="truth")

LONG = Contestant("along the whole path, batch by batch", "view_path", ("views",))
DIRECT = Contestant("the last view from the given one alone", "view_path", ("views",), way="alone")
LAST_TRUTH, LAST_REPEATED = (replace(one, task="view_path") for one in (TRUTH, REPEATED))

"""The contestants on clips."""

from unrender.evaluate.claims.contestant import Contestant

VIDEO = Contestant("video forward", "video_forward", ("video-forward",))
SPLIT_SUM = Contestant("split sum, frame by frame", "video_forward", ("deferred:split_sum",))
SCREEN_SPACE = Contestant("screen-space ray tracing, frame by frame", "video_forward", ("deferred:screen_space",))
PICTURE_FORWARD = Contestant("end-to-end forward, frame by frame", "video_forward", ("forward-e2e",), way="alone")
MEAN_COLOUR = Contestant("flat answer: the truth's mean colour", "video_forward", (), way="flat")

NO_LOG = Contestant("without the light's log picture", "video_forward", ("video-forward-no-log",))
NO_DIRECTION = Contestant("without its direction picture", "video_forward", ("video-forward-no-direction",))
NO_LEVELS = Contestant("without features of several resolutions", "video_forward", ("video-forward-no-levels",))
NO_LORA = Contestant("footage without an adapter", "video_forward", ("video-forward-no-lora",))

RELIT = Contestant("video inverse, video forward", "video_relight", ("video-inverse", "video-forward"))
RELIT_SPLIT_SUM = Contestant("video inverse, split sum", "video_relight", ("video-inverse", "deferred:split_sum"))
RELIT_SCREEN_SPACE = Contestant(
    "video inverse, screen space", "video_relight", ("video-inverse", "deferred:screen_space")
)
UNCHANGED = Contestant("the clip as it was", "video_relight", (), way="unchanged")

INVERSE = Contestant("video inverse", "video_inverse", ("video-inverse",))
PICTURE_INVERSE = Contestant("end-to-end inverse, frame by frame", "video_inverse", ("inverse-e2e",), way="alone")
FLAT = Contestant("flat answer: mean maps, one depth", "video_inverse", (), way="flat")
TRUTH = Contestant("bound: the truth", "video_inverse", (), way="truth")

"""The sampling part of a card: the noise schedule, the initial noise, guidance, and which items see one another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from unrender.errors import UserError

Prediction = Literal["v_prediction", "epsilon", "sample", "flow"]
Spacing = Literal["leading", "trailing", "linspace"]
NoiseKind = Literal["none", "zeros", "gaussian", "multi_resolution"]
FinalStep = Literal["clean", "previous"]
Solver = Literal["ddim", "unipc"]


@dataclass(frozen=True)
class ScheduleCard:
    """A schedule of the DDPM family: integer timesteps over betas.

    Attributes:
        prediction: what the network's output is.
        spacing: where the timesteps of few steps lie; only `trailing` (and `linspace`) start at t = T.
        zero_terminal_snr: betas rescaled so that the last timestep is pure noise (Lin et al. 2024, section 3.1).
        steps: denoising steps when the caller does not say.
        solver: `ddim`, deterministic and of first order; or `unipc`, a multi-step solver (Zhao et al. 2023).
        final_step: `clean` returns the predicted clean latent; `previous` the scheduler's re-noised `prev_sample`,
            which several official codes decode.
        train_steps, beta_start, beta_end, beta_schedule, steps_offset, set_alpha_to_one: as in diffusers; the
            scheduler's own file, where a checkpoint has one, takes precedence over these.
    """

    prediction: Prediction = "v_prediction"
    spacing: Spacing = "trailing"
    zero_terminal_snr: bool = False
    steps: int = 1
    solver: Solver = "ddim"
    final_step: FinalStep = "clean"
    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    steps_offset: int = 1
    set_alpha_to_one: bool = False
    kind: Literal["ddpm"] = "ddpm"

    def __post_init__(self) -> None:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise UserError(
                "card: epsilon prediction with zero terminal SNR has no clean latent at t = T; expected v_prediction"
            )


@dataclass(frozen=True)
class KarrasCard:
    """Euler over the sigmas of Karras et al. 2022 (eq. 5), as Stable Video Diffusion is sampled.

    Attributes:
        prediction: what the network's output is, in the variance-preserving form of the latent.
        steps: denoising steps when the caller does not say.
        sigma_min, sigma_max, rho: the range and curvature of the sigmas.
        spacing: `leading` starts from unit noise scaled by sqrt(1 + sigma_max^2), `trailing` from sigma_max.
        exploding: latents are walked in the variance-exploding form of official schedulers, where those of sigma 700
            are rounded to 1/16384 in single precision: for parity alone.
        final_step: as in `ScheduleCard`.
    """

    prediction: Prediction = "v_prediction"
    steps: int = 25
    sigma_min: float = 0.002
    sigma_max: float = 700.0
    rho: float = 7.0
    spacing: Spacing = "leading"
    exploding: bool = False
    final_step: FinalStep = "clean"
    kind: Literal["karras"] = "karras"


@dataclass(frozen=True)
class FlowCard:
    """Euler over a rectified flow: z = (1 - t) z0 + t noise (Lipman et al. 2023; Esser et al. 2024, section 2).

    Attributes:
        prediction: `flow`, the velocity noise - z0, by default.
        steps: denoising steps when the caller does not say.
        shift: of the timesteps towards noise for large pictures (Esser et al. 2024, eq. 23).
        train_steps: the network is conditioned on t times this.
        final_step: as in `ScheduleCard`.
    """

    prediction: Prediction = "flow"
    steps: int = 28
    shift: float = 1.0
    train_steps: int = 1000
    final_step: FinalStep = "clean"
    kind: Literal["flow"] = "flow"


AnySchedule = ScheduleCard | KarrasCard | FlowCard


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, with the input maps as the image of InstructPix2Pix (Brooks et al. 2023, eq. 3).

    output = none + image (image only - none) + text (image and text - image only)

    Attributes:
        text: weight of the text; 1 for no guidance, 0 for what is made without any text.
        image: weight of the input maps. At 1 the unconditional evaluation cancels, and two evaluations do.
        rescale: share of the guided output whose deviation is brought back (Lin et al. 2024, section 3.4).
        least: a `text` of less is no guidance at all; official code has 1 there.
        inclusive: whether at a `text` of exactly 1 the image guides alone.
        leaves_out: what the evaluation lacks that is guided away from: the `text`, or `all` that conditions the
            network, latents and tokens set to zero (DiffusionRenderer); `text` is then the weight of all of it.
    """

    text: float = 1.0
    image: float = 0.0
    rescale: float = 0.0
    least: float = 0.0
    inclusive: bool = False
    leaves_out: Literal["text", "all"] = "text"

    @property
    def on(self) -> bool:
        """Whether anything is to be done."""
        return self.image >= 1 and self.text >= self.least and (self.text != 1 or (self.inclusive and self.image > 1))


@dataclass(frozen=True)
class Grouping:
    """What an item of the network's batch is, and which items see one another (the joint axis).

    Attributes:
        item: a `frame`, the latents of all its targets stacked on channels; or one `target` of a frame, told apart from
            the others by prompt or task.
        joint: the items of a group attend to one another: `none` (every item is alone), the `targets` of a frame
            (GeoWizard's cross-task attention), the `frames` of a window or views of a set (video, multi-view), or
            all targets of all frames (a model that joins targets, inflated for clips).
        shared_noise: items that start from the same noise: a target in all `frames`, which keeps the single-step
            models steady over a clip; the `targets` of a frame; all `frames_and_targets`; or `none`.
        window: frames that the network was trained to see together, where it sees more than one; 0 where nobody says.
    """

    item: Literal["frame", "target"] = "frame"
    joint: Literal["none", "targets", "frames", "frames_and_targets"] = "none"
    shared_noise: Literal["frames", "targets", "frames_and_targets", "none"] = "frames"
    window: int = 0

    def __post_init__(self) -> None:
        if self.joint in ("targets", "frames_and_targets") and self.item == "frame":
            raise UserError("card: targets stacked in one item cannot attend to one another; expected item: target")

    @property
    def joins_targets(self) -> bool:
        """Whether the targets of a frame see one another."""
        return self.joint in ("targets", "frames_and_targets")

    @property
    def joins_frames(self) -> bool:
        """Whether the frames of a window see one another."""
        return self.joint in ("frames", "frames_and_targets")

    def over_frames(self) -> Grouping:
        """The same with the frames of a window in a group."""
        return replace(self, joint="frames_and_targets" if self.joins_targets else "frames")


@dataclass(frozen=True)
class SamplingCard:
    """How a checkpoint is sampled.

    Attributes:
        schedule: the noise levels and the solver.
        noise: what sampling starts from; `none` is no noisy target at all.
        guidance: classifier-free guidance.
        grouping: what an item is, and which items see one another.
    """

    schedule: AnySchedule = field(default_factory=ScheduleCard)
    noise: NoiseKind = "zeros"
    guidance: Guidance = field(default_factory=Guidance)
    grouping: Grouping = field(default_factory=Grouping)

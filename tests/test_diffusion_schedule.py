"""The noise schedule against diffusers' own, against published numbers, and E2E-FT's central finding."""

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.noise import draw_noise, multi_resolution_noise
from unrender.diffusion.sampler import sample
from unrender.diffusion.schedule import add_noise, make_schedule, predict_clean
from unrender.errors import UserError


def levels(alpha: float) -> tuple[float, float]:
    return alpha**0.5, (1 - alpha) ** 0.5


def test_stable_diffusion_leaves_half_a_percent_of_signal_at_the_end():
    schedule = make_schedule(ScheduleCard())
    assert schedule.alpha(999) == pytest.approx(0.0046601, abs=1e-6)
    v = torch.randn(1, 4, 2, 2)
    clean = predict_clean(v, torch.zeros_like(v), *levels(schedule.alpha(999)), "v_prediction")
    torch.testing.assert_close(clean, -0.99767 * v, atol=1e-5, rtol=1e-4)


def test_zero_terminal_snr_leaves_none():
    schedule = make_schedule(ScheduleCard(zero_terminal_snr=True))
    assert schedule.alpha(999) == 0
    v, noise = torch.randn(2, 1, 4, 2, 2)
    torch.testing.assert_close(predict_clean(v, noise, 0.0, 1.0, "v_prediction"), -v)


def test_only_trailing_hands_a_single_step_the_timestep_of_its_noise():
    """E2E-FT section 3: a walk of one step starts from pure noise (t = T). Leading spacing tells the network that
    almost none is there; trailing spacing says the truth."""
    noise = torch.randn(1, 4, 64, 64)
    clean = torch.randn(1, 4, 64, 64)
    matches = {}
    for spacing in ("leading", "trailing"):
        schedule = make_schedule(ScheduleCard(spacing=spacing))
        (timestep,) = schedule.timesteps(1)
        at_timestep = add_noise(clean, noise, schedule.alpha(timestep))
        matches[spacing] = float(torch.nn.functional.cosine_similarity(at_timestep.flatten(), noise.flatten(), dim=0))
    assert make_schedule(ScheduleCard(spacing="leading")).timesteps(1) == (1,)
    assert make_schedule(ScheduleCard(spacing="trailing")).timesteps(1) == (999,)
    assert matches["trailing"] > 0.99
    assert matches["leading"] < 0.1


@pytest.mark.parametrize(("spacing", "closest"), [("trailing", "target"), ("leading", "noise")])
def test_a_single_step_gives_the_picture_with_trailing_and_the_noise_back_with_leading(spacing, closest):
    """A network that answers as well as can be: the v of the true latent, as far as the input can hold it at the
    timestep that it is told. At t = 1 the input is all but the answer, so it takes the noise for the picture."""
    target, noise = torch.randn((2, 1, 4, 16, 16), generator=torch.Generator().manual_seed(2))
    schedule = make_schedule(ScheduleCard(spacing=spacing))

    def network(seen, timestep):
        alpha = schedule.alpha(timestep)
        # The posterior mean of z0 given z_t for unit Gaussians is the input where it is clean, the target where not.
        clean = seen if alpha > 0.5 else target
        return (alpha**0.5 * seen - clean) / (1 - alpha) ** 0.5

    found = sample(network, schedule, noise, 1)
    errors = {name: float((found - value).square().mean()) for name, value in (("target", target), ("noise", noise))}
    assert errors[closest] < 1e-3
    assert max(errors.values()) > 1


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_walk_equals_diffusers(spacing, prediction, steps, zero_snr):
    if prediction == "epsilon" and zero_snr:
        with pytest.raises(UserError, match="zero terminal SNR"):
            ScheduleCard(prediction=prediction, zero_terminal_snr=True)
        return
    card = ScheduleCard(
        spacing=spacing, prediction=prediction, zero_terminal_snr=zero_snr, final_step="previous", steps=steps
    )
    schedule = make_schedule(card)
    reference = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
        timestep_spacing=spacing,
        rescale_betas_zero_snr=zero_snr,
    )
    reference.set_timesteps(steps)
    generator = torch.Generator().manual_seed(1)
    noise, photo = torch.randn((2, 1, 4, 8, 8), generator=generator)
    mix = torch.randn((4, 8, 1, 1), generator=generator) * 0.3

    def network(latent, timestep):
        seen = torch.cat((photo, latent), 1)
        return torch.tanh(torch.nn.functional.conv2d(seen, mix)) * (1 + timestep / 1000)

    expected = noise
    for timestep in reference.timesteps:
        output = network(expected, int(timestep))
        expected = reference.step(output, timestep, expected).prev_sample
    found = sample(network, schedule, noise, steps)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_clean_final_step_is_the_predicted_clean_latent():
    noise, v = torch.randn(2, 1, 4, 4, 4)
    clean = make_schedule(ScheduleCard())
    renoised = make_schedule(ScheduleCard(final_step="previous"))
    z0 = sample(lambda *_: v, clean, noise, 1)
    previous = sample(lambda *_: v, renoised, noise, 1)
    alpha = clean.alpha(999)
    torch.testing.assert_close(z0, alpha**0.5 * noise - (1 - alpha) ** 0.5 * v)
    # 0.99957 z0 + 0.02915 eps: three hundredths of noise for nothing.
    eps = (noise - alpha**0.5 * z0) / (1 - alpha) ** 0.5
    torch.testing.assert_close(previous, 0.999575 * z0 + 0.029155 * eps, atol=1e-4, rtol=1e-3)


def test_noise_kinds():
    shape = (3, 4, 32, 32)
    assert not draw_noise("zeros", shape, 0).any()
    gaussian = draw_noise("gaussian", shape, 0)
    torch.testing.assert_close(gaussian, draw_noise("gaussian", shape, 0))
    assert not torch.equal(gaussian, draw_noise("gaussian", shape, 1))
    assert not torch.equal(gaussian[0], gaussian[1])
    shared = draw_noise("multi_resolution", shape, 0, shared=True)
    assert torch.equal(shared[0], shared[2])


def test_multi_resolution_noise_has_unit_deviation_and_more_low_frequencies():
    generator = torch.Generator().manual_seed(0)
    coarse = multi_resolution_noise((16, 4, 64, 64), generator)
    white = torch.randn(16, 4, 64, 64, generator=generator)
    assert float(coarse.std()) == pytest.approx(1, abs=1e-4)
    pooled = [float(torch.nn.functional.avg_pool2d(noise, 16).std()) for noise in (coarse, white)]
    assert pooled[0] > 3 * pooled[1]

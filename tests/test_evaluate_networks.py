"""LPIPS and FID by real networks of small width and random weights, written in the published layouts."""

import math
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate.maps import score
from unrender.evaluate.metrics.frechet import Moments, frechet_distance, moments
from unrender.evaluate.metrics.inception import Inception
from unrender.evaluate.metrics.lpips import Lpips
from unrender.evaluate.pictures import evaluate_pictures
from unrender.files.images import write_image
from unrender.files.sequences import open_frames
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer

ALL = torch.ones(1, 48, 64, dtype=torch.bool)
ALEX = {0: (3, 6, 11), 3: (6, 8, 5), 6: (8, 8, 3), 8: (8, 6, 3), 10: (6, 6, 3)}
VGG = {0: (3, 4), 2: (4, 4), 5: (4, 6), 7: (6, 6), 10: (6, 8), 12: (8, 8), 14: (8, 8)}
VGG |= {17: (8, 8), 19: (8, 8), 21: (8, 8), 24: (8, 8), 26: (8, 8), 28: (8, 8)}
TAPS = {"alex": (6, 8, 8, 6, 6), "vgg": (4, 6, 8, 8, 8)}


def backbone(family: str) -> dict[str, Tensor]:
    """torchvision's layout, with a classifier."""
    g = torch.Generator().manual_seed(5)
    weights = {"classifier.1.weight": torch.zeros(2, 2)}
    for number, (inner, outer, *kernel) in (ALEX if family == "alex" else VGG).items():
        side = kernel[0] if kernel else 3
        weights[f"features.{number}.weight"] = torch.randn(outer, inner, side, side, generator=g) / (side * inner**0.5)
        weights[f"features.{number}.bias"] = 0.1 * torch.randn(outer, generator=g)
    return weights


def linear(family: str) -> dict[str, Tensor]:
    """The package lpips' layout."""
    g = torch.Generator().manual_seed(6)
    return {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1, generator=g) for i, n in enumerate(TAPS[family])}


def network(folder: Path, family: str) -> Lpips:
    torch.save(backbone(family), folder / "backbone.pth")
    torch.save(linear(family), folder / "linear.pth")
    return Lpips.read(folder / "backbone.pth", folder / "linear.pth")


def pictures() -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(7))
    return a, b


@pytest.mark.parametrize("family", ["alex", "vgg"])
def test_lpips_is_a_distance(tmp_path: Path, family: str):
    lpips = network(tmp_path, family)
    a, b = pictures()
    assert lpips.family.name == family
    assert lpips(a, a, ALL) == 0
    assert lpips(a, b, ALL) == pytest.approx(lpips(b, a, ALL), rel=1e-5)
    assert lpips(a, b, ALL) > lpips(a, 0.9 * a + 0.1 * b, ALL) > 0


def test_lpips_sees_only_the_mask(tmp_path: Path):
    lpips = network(tmp_path, "alex")
    a, b = pictures()
    left = ALL.clone()
    left[..., 32:] = False
    spoiled = torch.where(left, a, 9.0)
    assert lpips(spoiled, b, left) == lpips(a, b, left)
    assert math.isnan(lpips(a, b, ~ALL))
    with pytest.raises(UserError, match="at least 31"):
        lpips(a[..., :20], b[..., :20], ALL[..., :20])


def test_lpips_of_one_file(tmp_path: Path):
    apart = network(tmp_path, "vgg")
    slices = {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5}
    whole = {
        re.sub(r"features\.(\d+)", lambda m: f"net.slice{slices[int(m[1])]}.{m[1]}", name): value
        for name, value in backbone("vgg").items()
    }
    save_file(whole | linear("vgg"), tmp_path / "whole.safetensors")
    a, b = pictures()
    assert Lpips.read(tmp_path / "whole.safetensors")(a, b, ALL) == apart(a, b, ALL)


def test_lpips_and_fid_in_reports(tmp_path: Path):
    lpips = network(tmp_path, "alex")
    torch.save(inception_weights(), tmp_path / "inception.pth")
    a, b = pictures()
    for name, picture in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        for number in range(2):
            write_image(tmp_path / name / f"{number}.png", picture.roll(number, dims=-1))
    clips = open_frames(tmp_path / "a"), open_frames(tmp_path / "b")
    scores = evaluate_pictures(*clips, lpips, Inception.read(tmp_path / "inception.pth")).answers["predicted"]
    by_name = {figure.name: value for figure, value in scores.items()}
    encoded = (linear_to_srgb(frames.rgb[0]) for frames in (next(iter(clip)) for clip in clips))
    assert by_name["FID"] > 0
    assert by_name["LPIPS (alex)"] == pytest.approx(lpips(*encoded, ALL), rel=0.1)
    still = GBuffer(base_color=a[None], mask=torch.ones(1, 1, 48, 64))
    assert min(value for figure, value in score(still, still, lpips).items() if figure.name == "LPIPS (alex)") == 0


def test_lpips_takes_the_linear_weights_that_torchmetrics_carries(tmp_path: Path):
    if find_spec("torchmetrics") is None:
        pytest.skip("torchmetrics is not installed (extra: metrics)")
    g = torch.Generator().manual_seed(8)
    widths = {0: (3, 64, 11), 3: (64, 192, 5), 6: (192, 384, 3), 8: (384, 256, 3), 10: (256, 256, 3)}
    weights = {}
    for number, (inner, outer, side) in widths.items():
        weights[f"features.{number}.weight"] = torch.randn(outer, inner, side, side, generator=g) / (side * inner**0.5)
        weights[f"features.{number}.bias"] = torch.zeros(outer)
    torch.save(weights, tmp_path / "alexnet.pth")
    lpips = Lpips.read(tmp_path / "alexnet.pth")
    assert float(lpips.weights["lin0"].sum()) == pytest.approx(2.3495, abs=1e-3)
    assert lpips(*pictures(), ALL) > 0


def test_lpips_weights_that_are_wrong(tmp_path: Path):
    network(tmp_path, "alex")
    lacking = {name: value for name, value in backbone("alex").items() if name != "features.6.bias"}
    torch.save(lacking, tmp_path / "lacking.pth")
    torch.save(linear("vgg"), tmp_path / "vgg.pth")
    (tmp_path / "broken.pth").write_bytes(b"no weights at all")
    with pytest.raises(UserError, match=r"has no 6\.bias"):
        Lpips.read(tmp_path / "lacking.pth", tmp_path / "linear.pth")
    with pytest.raises(UserError, match="lin0 is not for 6 features"):
        Lpips.read(tmp_path / "backbone.pth", tmp_path / "vgg.pth")
    with pytest.raises(UserError, match="cannot be read as weights"):
        Lpips.read(tmp_path / "broken.pth")
    with pytest.raises(UserError, match="--lpips FILE"):
        Lpips.read(None)


def test_frechet_distance_of_gaussians():
    # With covariances of the same eigenvectors: |m|^2 + sum (sqrt a - sqrt b)^2.
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))).Q
    a, b = torch.tensor([1.0, 4.0, 9.0, 0.0]).double(), torch.tensor([4.0, 1.0, 9.0, 16.0]).double()
    first = Moments(torch.zeros(4).double(), turn @ a.diag() @ turn.T)
    second = Moments(torch.tensor([1.0, 2.0, 0.0, 2.0]).double(), turn @ b.diag() @ turn.T)
    assert frechet_distance(first, second) == pytest.approx(9 + 1 + 1 + 0 + 16)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    # Another's two: tr (A B)^(1/2) of diag(1, 4) and [[5, 4], [4, 5]] by the eigenvalues of their product.
    one = Moments(torch.zeros(2).double(), torch.tensor([[1.0, 0.0], [0.0, 4.0]]).double())
    two = Moments(torch.zeros(2).double(), torch.tensor([[5.0, 4.0], [4.0, 5.0]]).double())
    root = torch.linalg.eigvals(one.covariance @ two.covariance).real.sqrt().sum()
    assert frechet_distance(one, two) == pytest.approx(5 + 10 - 2 * float(root))


def test_moments_are_those_of_the_features():
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(10))
    found = moments(features)
    torch.testing.assert_close(found.mean, features.double().mean(0))
    torch.testing.assert_close(found.covariance, torch.cov(features.double().T))
    shifted = moments(features + torch.tensor([3.0, 0.0, 4.0]))
    assert frechet_distance(found, shifted) == pytest.approx(25, rel=1e-5)
    with pytest.raises(UserError, match="at least 2"):
        moments(features[:1])


KERNELS = {"1x1": [(1, 1)], "5x5": [(1, 1), (5, 5)], "3x3dbl": [(1, 1), (3, 3), (3, 3)], "pool": [(1, 1)]}
KERNELS |= {"7x7": [(1, 1), (1, 7), (7, 1)], "7x7dbl": [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]}
WIDTH = 4


def inception_weights() -> dict[str, Tensor]:
    """The published layout with all widths 4."""
    sizes = {"Conv2d_1a_3x3": (3, 3, 3), "Conv2d_2a_3x3": (WIDTH, 3, 3), "Conv2d_2b_3x3": (WIDTH, 3, 3)}
    sizes |= {"Conv2d_3b_1x1": (WIDTH, 1, 1), "Conv2d_4a_3x3": (WIDTH, 3, 3)}
    inner = WIDTH

    def branch(name: str, *kernels: tuple[int, int], numbers: str = "") -> None:
        for place, kernel in enumerate(kernels):
            number = f"_{place + 1}" if len(kernels) > 1 else numbers
            sizes[f"{name}{number}"] = (WIDTH if place or numbers else inner, *kernel)

    for letter in "bcd":
        for kind in ("1x1", "5x5", "3x3dbl"):
            branch(f"Mixed_5{letter}.branch{kind}", *KERNELS[kind])
        branch(f"Mixed_5{letter}.branch_pool", (1, 1))
        inner = 4 * WIDTH
    branch("Mixed_6a.branch3x3", (3, 3))
    branch("Mixed_6a.branch3x3dbl", (1, 1), (3, 3), (3, 3))
    inner = 2 * WIDTH + inner
    for letter in "bcde":
        for kind in ("1x1", "7x7", "7x7dbl"):
            branch(f"Mixed_6{letter}.branch{kind}", *KERNELS[kind])
        branch(f"Mixed_6{letter}.branch_pool", (1, 1))
        inner = 4 * WIDTH
    branch("Mixed_7a.branch3x3", (1, 1), (3, 3))
    branch("Mixed_7a.branch7x7x3", (1, 1), (1, 7), (7, 1), (3, 3))
    inner = 2 * WIDTH + inner
    for letter in "bc":
        name = f"Mixed_7{letter}.branch"
        branch(f"{name}1x1", (1, 1))
        sizes[f"{name}3x3_1"] = (inner, 1, 1)
        branch(f"{name}3x3dbl", (1, 1), (3, 3))
        for kind in ("3x3_2", "3x3dbl_3"):
            branch(f"{name}{kind}", (1, 3), numbers="a")
            branch(f"{name}{kind}", (3, 1), numbers="b")
        branch(f"{name}_pool", (1, 1))
        inner = 6 * WIDTH
    return _filled(sizes) | {"fc.weight": torch.zeros(1008, inner)}


def _filled(sizes: dict[str, tuple[int, int, int]]) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(11)
    weights = {}
    for name, (inner, height, width) in sizes.items():
        weights[f"{name}.conv.weight"] = (
            torch.randn(WIDTH, inner, height, width, generator=g) * (2 / (inner * height * width)) ** 0.5
        )
        for part, value in (("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)):
            weights[f"{name}.bn.{part}"] = torch.full((WIDTH,), value)
    return weights


def test_inception_features_and_fid(tmp_path: Path):
    torch.save(inception_weights(), tmp_path / "inception.pth")
    inception = Inception.read(tmp_path / "inception.pth")
    noise = torch.rand(6, 3, 40, 50, generator=torch.Generator().manual_seed(12))
    features = inception.features(noise)
    assert features.shape == (6, 6 * WIDTH)
    assert float(features.std(0).max()) > 0
    torch.testing.assert_close(inception.features(noise[2:3]), features[2:3], atol=1e-5, rtol=1e-4)
    same = moments(features)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(same, moments(inception.features(0.3 * noise))) > 1e-3


def test_inception_weights_that_are_wrong(tmp_path: Path):
    weights = inception_weights()
    torch.save({**weights, "fc.weight": torch.zeros(1000, 24)}, tmp_path / "torchvision.pth")
    torch.save({k: v for k, v in weights.items() if "Mixed_7c.branch1x1" not in k}, tmp_path / "part.pth")
    with pytest.raises(UserError, match="not that network"):
        Inception.read(tmp_path / "torchvision.pth")
    with pytest.raises(UserError, match=r"has no Mixed_7c\.branch1x1\.conv\.weight"):
        Inception.read(tmp_path / "part.pth")
    with pytest.raises(UserError, match="--fid FILE"):
        Inception.read(None)

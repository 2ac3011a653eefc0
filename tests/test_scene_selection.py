"""Conditions on maps: which pixels they choose, and what is said of those that do not read so."""

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.gbuffer import GBuffer
from unrender.scene.selection import DEEPEST, select


@pytest.fixture
def gbuffer() -> GBuffer:
    """Eight pixels in a row, over two frames."""
    ramp = torch.linspace(0, 1, 8).reshape(1, 1, 1, 8).repeat(2, 1, 1, 1)
    normal = torch.zeros(2, 3, 1, 8)
    normal[:, 1] = 1.0
    normal[1, :, :, :4] = torch.tensor([0.0, 0.0, 1.0]).reshape(3, 1, 1)
    return GBuffer(
        base_color=torch.cat((ramp, 1 - ramp, torch.zeros_like(ramp)), dim=1),
        normal=normal,
        roughness=ramp,
        metallic=(ramp > 0.5).float(),
        instance=torch.arange(8.0).reshape(1, 1, 1, 8).repeat(2, 1, 1, 1),
        depth=torch.full((2, 1, 1, 8), torch.inf),
        mask=ramp,
    )


@pytest.mark.parametrize(
    ("condition", "pixels"),
    [
        ("instance == 3", [3]),
        ("instance==3|instance==5", [3, 5]),
        ("instance >= 2 & instance < 5", [2, 3, 4]),
        ("2 <= instance < 5", [2, 3, 4]),
        ("metallic>0.5 & instance==3", []),
        ("metallic>0.5 & instance!=6", [4, 5, 7]),
        ("!(metallic > .5) & roughness > 2e-1", [2, 3]),
        ("not metallic and roughness > 0.2", [2, 3]),
        ("~metallic && instance > 1 || instance == 7", [2, 3, 7]),
        ("instance > 1 & (instance < 3 | instance > 6)", [2, 7]),
        ("mask", [4, 5, 6, 7]),
        ("base_color.r > base_color.g", [4, 5, 6, 7]),
        ("base_color < 0.3", [6, 7]),
        ("normal.y > 0.5", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("-roughness > -0.2", [0, 1]),
        ("depth > 1e30", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("1 > 0", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("0", []),
    ],
)
def test_a_condition_chooses_the_pixels_it_holds_for(gbuffer: GBuffer, condition: str, pixels: list[int]):
    chosen = select(gbuffer, condition)
    assert chosen.shape == (2, 1, 1, 8)
    assert chosen.dtype == torch.float32
    assert chosen[0, 0, 0].nonzero().flatten().tolist() == pixels


def test_every_frame_is_looked_at(gbuffer: GBuffer):
    assert select(gbuffer, "normal.z > 0.5").sum((1, 2, 3)).tolist() == [0, 4]


def test_and_binds_tighter_than_or_and_comparisons_tighter_than_both(gbuffer: GBuffer):
    assert torch.equal(
        select(gbuffer, "instance==1|instance==2&metallic>0.5"),
        select(gbuffer, "instance==1 | (instance==2 & metallic)"),
    )


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("metalic > 0.5", "did you mean metallic"),
        ("gloss > 0.5", "no map gloss"),
        ("shading > 0.5", "needs the map shading"),
        ("normal > 0.5", "a vector"),
        ("normal.r > 0.5", "no component"),
        ("roughness.r > 0.5", "single value"),
        ("metallic >", "a map or a number"),
        ("> 0.5", "a map or a number"),
        ("metallic > 0.5 roughness", "& or |"),
        ("(metallic > 0.5", "closing bracket"),
        ("metallic > 0.5)", "& or |"),
        ("metallic = 0.5", "no meaning"),
        ("__import__('os')", "no meaning"),
        ("__import__ > 1", "no map __import__"),
        ("metallic > 0.5; roughness", "no meaning"),
        ("(" * (DEEPEST + 1) + "metallic" + ")" * (DEEPEST + 1), "levels of brackets"),
        ("!" * 10000 + "metallic", "levels of brackets"),
        ("metallic > 1e999999 & \x00", "no meaning"),
    ],
)
def test_what_is_no_condition_is_refused_in_a_line(gbuffer: GBuffer, condition: str, said: str):
    with pytest.raises(UserError) as refusal:
        select(gbuffer, condition)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 250

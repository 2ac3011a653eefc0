"""`unrender studio` without a browser: what it shows, to whom, and the command that makes it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from importlib import resources

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from unrender.errors import UserError
from unrender.files.environments import builtin_environment, builtin_environment_names
from unrender.files.state import load_state, save_state
from unrender.forward import DeferredRenderer, PreparedSplitSum
from unrender.insert import BUILTIN
from unrender.relight import Decomposition, RelightOptions, relight_decomposition
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.serve import ServeSettings
from unrender.studio import Lamp, Look, OpenPhoto, Rig, create_studio
from unrender.studio.app import LIGHTS, OBJECTS
from unrender.studio.command import Inserted, Screen, command_of
from unrender.studio.rig import light_of
from unrender.studio.visits import Visits

HERE = "http://127.0.0.1:8420"
SIDE = 48


@pytest.fixture(scope="module")
def ball() -> Decomposition:
    """A white ball, half of its pixel rim soft, as an inverse renderer would give it."""
    y, x = torch.meshgrid(torch.linspace(1, -1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    inside = x * x + y * y < 0.8
    z = (1 - (x * x + y * y) / 0.8).clamp(min=0).sqrt()
    normal = torch.nn.functional.normalize(torch.stack((x, y, z)), dim=0) * inside
    mask = inside.float()[None, None]
    gbuffer = GBuffer(
        base_color=torch.full((1, 3, SIDE, SIDE), 0.6),
        normal=normal[None],
        roughness=x.abs()[None, None],
        metallic=(y > 0.5).float()[None, None],
        mask=mask,
    )
    own = EnvironmentMap(torch.full((1, 3, 8, 16), 0.5))
    photo = DeferredRenderer("split_sum")(gbuffer, own).beauty.clamp(0, 1)
    return Decomposition(
        Frames(photo), gbuffer.with_maps(rgb=photo), own, torch.ones_like(photo), torch.ones(1, 1, 1, 1)
    )


def larger(whole: Decomposition, times: int) -> Decomposition:
    """The same with every pixel repeated."""

    def more(values: torch.Tensor) -> torch.Tensor:
        return values.repeat_interleave(times, 2).repeat_interleave(times, 3)

    maps = {name: more(value) for name, value in whole.gbuffer.maps.items()}
    assert whole.gain is not None
    return Decomposition(Frames(more(whole.frames.rgb)), GBuffer(**maps), whole.light, more(whole.gain), whole.belief)


@pytest.mark.parametrize("yaw", [0.0, 33.3, -170.0, 725.0])
@pytest.mark.parametrize("name", ["sunset", "studio"])
def test_the_prepared_split_sum_is_the_split_sum(ball, yaw, name):
    light = builtin_environment(name).resized((64, 128))
    expected = DeferredRenderer("split_sum")(ball.gbuffer, light, yaw)
    found = PreparedSplitSum(ball.gbuffer)(ball.gbuffer, light, yaw)
    for part, value in expected.passes.items():
        torch.testing.assert_close(found.passes[part], value, rtol=2e-3, atol=2e-3 * float(value.max() + 1e-6))


def test_the_prepared_split_sum_follows_its_light_and_takes_no_other_g_buffer(ball):
    renderer = PreparedSplitSum(ball.gbuffer)
    light = EnvironmentMap(torch.ones(1, 3, 16, 32))
    first = renderer(ball.gbuffer, light).beauty
    torch.testing.assert_close(renderer(ball.gbuffer, light.exposed(1.0)).beauty, 2 * first)
    torch.testing.assert_close(renderer(ball.gbuffer.frame(0), light).beauty, first)
    other = ball.gbuffer.with_maps(normal=ball.gbuffer.normal.clone())
    with pytest.raises(UserError, match="another G-buffer"):
        renderer(other, light)


def test_a_gain_that_is_given_shows_the_picture(ball):
    light = builtin_environment("city")
    plain = relight_decomposition(ball, light, DeferredRenderer("split_sum"))
    given_gain = relight_decomposition(ball, light, DeferredRenderer("split_sum"), gain=plain.gain)
    assert torch.equal(plain.display, given_gain.display)
    half = relight_decomposition(ball, light, DeferredRenderer("split_sum"), gain=plain.gain / 2)
    assert half.gain == plain.gain / 2


def test_a_stage_shows_what_relighting_shows(ball):
    look = Look(rig=Rig(base="sunset", yaw=70), background="light")
    base = builtin_environment("sunset").resized((64, 128))
    options = RelightOptions(70, background="light")
    expected = relight_decomposition(ball, base, DeferredRenderer("split_sum"), options).display[0]
    shown = OpenPhoto.of(ball).show(look, base)
    assert float((shown - expected).abs().mean()) < 1e-3


def test_a_lamp_lights_the_side_that_it_is_on(ball):
    stage = OpenPhoto.of(ball)

    def halves(azimuth: float) -> tuple[float, float]:
        rig = Rig(base="none", lamps=[Lamp(azimuth=azimuth, elevation=0, width=10)])
        shown = stage.show(Look(rig=rig, exposure=0.0, background="none"), None).mean(0)
        return float(shown[:, : SIDE // 2].mean()), float(shown[:, SIDE // 2 :].mean())

    left, right = halves(80), halves(-80)
    assert left[1] > 2 * left[0]
    assert right[0] > 2 * right[1]
    assert stage.show(Look(rig=Rig(base="none")), None).max() == 0


def test_a_photo_in_its_own_light_is_the_photo(ball):
    assert torch.equal(OpenPhoto.of(ball).show(Look(rig=Rig(base="own")), None), ball.frames.rgb[0].clamp(0, 1))


def test_a_material_changes_where_the_mask_is_and_is_taken_back(ball):
    stage, mask = OpenPhoto.of(ball), torch.zeros(1, 1, SIDE, SIDE)
    mask[..., : SIDE // 2] = 1
    red = stage.changed(["base_color=#c00000"], mask)
    for rig in (Rig(base="own"), Rig(base="even")):
        look = Look(rig=rig)
        before, after = (one.show(look, EnvironmentMap(torch.ones(1, 3, 16, 32))) for one in (stage, red))
        middle = SIDE // 2
        assert float(after[1, middle, SIDE // 4]) < 0.3 * float(before[1, middle, SIDE // 4])
        if rig.base == "own":
            assert torch.allclose(after[..., middle + 1 :], before[..., middle + 1 :], atol=1e-5)
    assert torch.equal(
        red.changed([], None).show(look, None if rig.base == "own" else EnvironmentMap(torch.ones(1, 3, 16, 32))),
        before,
    )
    with pytest.raises(UserError, match="cannot be changed"):
        stage.changed(["shine=1"], None)


def test_a_lamp_of_power_1_lights_as_a_white_sky_does():
    light, yaw = light_of(Rig(base="none", lamps=[Lamp(width=4, color="#ffffff", power=1.0)]), None)
    assert yaw == 0
    flux = (light.radiance[0] * texel_solid_angles(light.size)).sum((1, 2))
    torch.testing.assert_close(flux, torch.full((3,), math.pi), rtol=0.03, atol=0)
    middle = texel_directions(light.size).reshape(-1, 3)[light.radiance[0, 0].argmax()]
    azimuth, elevation = math.radians(Lamp().azimuth), math.radians(Lamp().elevation)
    ahead = torch.tensor(
        [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), -math.cos(azimuth) * math.cos(elevation)]
    )
    assert float(middle @ ahead) > math.cos(math.radians(2))


def test_a_sky_with_lamps_is_both():
    base = builtin_environment("night").resized((64, 128))
    lamp = Lamp(power=3.0)
    both, _ = light_of(Rig(base="night", yaw=90, lamps=[lamp]), base)
    alone, _ = light_of(Rig(base="none", lamps=[lamp]), None)
    off, yaw = light_of(Rig(base="night", yaw=90, lamps=[Lamp(on=False)]), base)
    assert (off is base, yaw) == (True, 90)
    sky = base.rotated(90).resized(both.size).radiance
    torch.testing.assert_close(both.radiance, sky + alone.radiance)


def test_a_stage_survives_its_file(ball, tmp_path):
    coarse = OpenPhoto.of(larger(ball, 8)).coarse
    assert 2**13 < coarse.frames.rgb[0, 0].numel() < 2**15
    save_state(tmp_path / "stage.state", ball)
    assert OpenPhoto.load(tmp_path / "stage.state").whole == ball
    (tmp_path / "stage.state").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="damaged"):
        load_state(tmp_path / "stage.state", (Decomposition,))


@pytest.mark.parametrize(
    ("screen", "line"),
    [
        (Screen(photo="a.jpg"), "unrender relight a.jpg -o out --light sunset"),
        (
            Screen(photo="my cup.jpg", look=Look(rig=Rig(base="city", yaw=-40.5), exposure=1.5, background="none")),
            "unrender relight 'my cup.jpg' -o out --light city --yaw -40.5 --background none --exposure 1.5",
        ),
        (
            Screen(photo="a.jpg", look=Look(rig=Rig(lamps=[Lamp()]))),
            "unrender relight a.jpg -o out --light studio-light.exr",
        ),
        (
            Screen(photo="a.jpg", changes=["roughness=0.1"], masked=True, look=Look(rig=Rig(base="own"))),
            "unrender edit a.jpg -o out --set roughness=0.1 --mask studio-mask.png",
        ),
        (
            Screen(photo="a.jpg", light="/x/sky.hdr", look=Look(rig=Rig(base="A" * 22, yaw=10))),
            "unrender relight a.jpg -o out --light sky.hdr --yaw 10",
        ),
        (
            Screen(photo="a.jpg", inserted=Inserted(asset="teapot", at=(0.2, 0.855), height=25, turn=-30)),
            "unrender insert a.jpg -o out --asset teapot --at 20%,85.5% --height 25% --turn -30",
        ),
    ],
)
def test_the_command_makes_what_is_on_the_screen(screen, line):
    assert command_of(screen) == line


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_no_name_makes_the_command_do_anything_else(name):
    words = shlex.split(command_of(Screen(photo=name)))
    assert words[:2] == ["unrender", "relight"]
    assert words[3:] == ["-o", "out", "--light", "sunset"]
    assert not words[2].startswith("-")


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_studio(ServeSettings()), base_url=HERE) as opened:
        yield opened


def test_the_page_asks_nothing_of_another_machine(client):
    assert client.get("/").headers["content-type"].startswith("text/html")
    parts = {file.name: file.read_bytes() for file in resources.files("unrender.studio").joinpath("page").iterdir()}
    assert {"index.html", "main.js", "style.css", "sample.jpg"} <= set(parts)
    for name, data in parts.items():
        answer = client.get(f"/page/{name}")
        assert answer.content == data
        if not name.endswith(".jpg"):
            outside = [found for found in re.findall(r"(?:https?:)?//[\w.]+", data.decode()) if "." in found]
            assert outside in ([], ["http://www.w3.org"]), name
            assert re.findall(r"\son\w+=|\sstyle=|javascript:", data.decode()) == [], name
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e/app.py", "../app.py", "nothing.js", ""])
def test_the_page_has_no_other_parts(client, name):
    assert client.get(f"/page/{name}").status_code == 404


def test_the_lists_of_the_page_are_what_ships(client):
    assert sorted(LIGHTS) == sorted((*builtin_environment_names(), "even"))
    assert sorted(OBJECTS) == sorted(BUILTIN)
    assert client.get("/studio/about").json()["lights"] == list(LIGHTS)
    assert client.get("/studio/lights/sunset.jpg").content[:2] == b"\xff\xd8"
    assert client.get("/studio/lights/..%2f..%2fx.jpg").status_code == 404
    assert "/studio" not in " ".join(client.get("/openapi.json").json()["paths"])


def test_visitors_see_nothing_of_one_another(ball):
    with TestClient(create_studio(ServeSettings()), base_url=HERE) as mine:
        theirs = TestClient(mine.app, base_url=HERE)
        for one in (mine, theirs):
            one.get("/")
        cookies = [one.cookies["unrender-visit"] for one in (mine, theirs)]
        assert len(set(cookies)) == 2
        header = TestClient(mine.app, base_url=HERE).get("/").headers["set-cookie"].lower()
        assert "httponly" in header
        assert "samesite=strict" in header
        id = mine.post("/v1/files", params={"name": "a.png"}, content=b"x").json()["id"]
        assert mine.get(f"/v1/files/{id}").status_code == 200
        assert theirs.get(f"/v1/files/{id}").status_code == 404
        assert theirs.post("/studio/stages", json={"input": id}).status_code == 404
        nobody = TestClient(mine.app, base_url=HERE, cookies={"unrender-visit": "guess"})
        assert nobody.get(f"/v1/files/{id}").status_code == 404
    visits = Visits(60)
    me, them = visits.welcome(), visits.welcome()
    visits.keep_stage(me, "s", OpenPhoto.of(ball))
    assert visits.stage(me, "s").whole is ball
    with pytest.raises(KeyError):
        visits.stage(them, "s")
    assert Visits(0).owner(Visits(0).welcome()) is None


def test_beyond_loopback_the_page_asks_for_the_token():
    with TestClient(create_studio(ServeSettings("0.0.0.0", token="right")), base_url="http://studio.local") as client:
        for wrong in ("/", "/?token=wrong"):
            assert client.get(wrong).status_code == 401
        assert client.get("/page/main.js").status_code == 401
        assert client.get("/?token=right", follow_redirects=True).status_code == 200
        assert client.get("/page/main.js").status_code == 200


def test_maps_are_sent_as_they_are(ball):
    from unrender.studio.stage import as_half, as_jpeg, map_as_png

    stage = OpenPhoto.of(ball)
    values = np.frombuffer(as_half(stage.map("normal")), "<f2").reshape(SIDE, SIDE, 3)
    assert np.abs(values - stage.map("normal").permute(1, 2, 0).numpy()).max() < 1e-3
    assert map_as_png("normal", stage.map("normal"))[1:4] == b"PNG"
    assert as_jpeg(ball.frames.rgb[0])[:2] == b"\xff\xd8"
    with pytest.raises(UserError, match="there is no map"):
        stage.map("frames")

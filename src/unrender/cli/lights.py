"""`unrender lights`: the lights that ship."""

import typer

from unrender.cli.verb import add_verb

app = typer.Typer(name="lights", help="List the lights that ship.")

SIZE = (64, 128)


def list_lights() -> None:
    """List the lights that ship: what each does, its colour and its strength on level ground.

    The colour is that of the irradiance (red, green and blue, green being 1), the strength its luminance, pi under a
    white sky of radiance 1; the sun or lamp is where most light comes from, in degrees above the horizon.
    """
    import math

    from unrender.files.environments import DESCRIPTIONS, EVEN, resolve_light
    from unrender.scene.color import luminance
    from unrender.scene.environment import mean_direction, texel_directions, texel_solid_angles

    upward = texel_directions(SIZE)[..., 1].clamp(min=0) * texel_solid_angles(SIZE)
    print(f"{'light':<11}{'colour':<17}{'strength':>8}{'height':>8}   what it does")
    for name, says in (*DESCRIPTIONS.items(), (EVEN, "the same from everywhere: takes the shading out")):
        light = resolve_light(name).resized(SIZE)
        falls = (light.radiance[0] * upward).sum((1, 2))
        direction = mean_direction(light)[0]
        directed = float(direction.norm()) > 0.01
        height = f"{math.degrees(math.asin(float(direction[1] / direction.norm()))):.0f}°" if directed else "-"
        colour = " ".join(f"{value:.2f}" for value in (falls / falls[1]).tolist())
        print(f"{name:<11}{colour:<17}{float(luminance(falls, 0)):>8.2f}{height:>8}   {says}")


add_verb(app, "list", list_lights)


@app.callback()
def _group() -> None:
    """List the lights that ship."""

"""Wear of materials: chipped paint on metal, scratches, labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array
from unrender.synth.materials import METALS, random_material, relief
from unrender.synth.patterns import fbm

Random = np.random.Generator

_WORDS = (
    *("TEA", "COFFEE", "SUGAR", "SALT", "HONEY", "OLIVE", "OIL", "MILK", "FLOUR", "RICE", "SOAP", "FRESH", "PURE"),
    *("No.", "EST.", "FINE", "GRADE", "EXTRA", "MILD", "FRAGILE", "OPEN", "HERE", "KEEP", "DRY", "THIS", "SIDE", "UP"),
    *("NET", "250", "500", "1000", "g", "ml", "12", "48", "1904", "1987", "A", "B", "C", "X", "Z", "LOT", "STONE"),
)


def random_finish(rng: Random, size: int, *, test: bool, metal_share: float = 0.25) -> Material:
    """A random material, of which 7 % are worn to the metal, 8 % scuffed, and 7 % bear a label with text; of the others
    `metal_share` are metals."""
    kind = rng.random()
    material = random_material(rng, size, test=test, metal_share=0.0 if kind < 0.07 else metal_share)
    if kind < 0.07:
        return worn(rng, material)
    if kind < 0.15:
        return scuffed(rng, material)
    return labelled(rng, material) if kind < 0.22 else material


def worn(rng: Random, material: Material) -> Material:
    """A coat of `material` with chips and rubbed patches that expose metal, sometimes rusty."""
    size = len(material.roughness)
    noise = fbm(rng, size, rng.uniform(1.2, 1.8), rng.uniform(1.5, 5.0))
    bare = np.clip((noise - np.quantile(noise[::8, ::8], rng.uniform(0.5, 0.9))) * 40, 0, 1)
    metal = np.array(METALS[rng.integers(len(METALS))], np.float32) * np.float32(rng.uniform(0.6, 1.0))
    fine = fbm(rng, size, 0.9, 4.0)
    rust = np.clip((fine - 0.5) * 8, 0, 1) * np.float32(rng.choice([0.0, 0.9]))
    under = metal + (np.array([0.2, 0.07, 0.025], np.float32) - metal) * rust[..., None]
    level = rng.uniform(0.15, 0.5)
    return Material(
        _mixed(material.base_color, under, bare[..., None]),
        np.clip(_mixed(material.roughness, level + (0.85 - level) * rust + 0.15 * (fine - 0.5), bare), 0.05, 1),
        _mixed(material.metallic, 1 - rust, bare),
        f"worn {material.name}",
        material.bump + relief(1 - bare, rng.uniform(0.05, 0.15)),
    )


def scuffed(rng: Random, material: Material) -> Material:
    """Fine lines of any direction across `material`: duller, lighter or darker, and cut in a little."""
    size = len(material.roughness)
    # Drawn twice as large and box-filtered: lines of half a texel's width keep smooth edges.
    picture = Image.new("L", (2 * size, 2 * size))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(15, 120))):
        x, y, turn = rng.uniform(0, 2 * size), rng.uniform(0, 2 * size), rng.uniform(0, 2 * np.pi)
        length, bend = size * rng.uniform(0.05, 0.6), rng.uniform(-0.6, 0.6)
        t = np.linspace(0, 1, 8)
        path = np.stack((x + length * t * np.cos(turn + bend * t), y + length * t * np.sin(turn + bend * t)), 1)
        draw.line([(float(a), float(b)) for a, b in path], fill=int(rng.integers(80, 256)), width=1)
    lines = np.asarray(picture.reduce(2), np.float32) / 255
    tone = np.float32(rng.uniform(-0.5, 0.6))
    return Material(
        np.clip(material.base_color * (1 + tone * lines[..., None]), 0.005, 1),
        np.clip(material.roughness + np.float32(rng.uniform(0.1, 0.4)) * lines, 0.05, 1),
        material.metallic,
        f"scuffed {material.name}",
        material.bump + relief(-lines, rng.uniform(0.02, 0.08)),
    )


def labelled(rng: Random, material: Material) -> Material:
    """A paper label with words and rules stuck on `material`, once or as often as it fits across the texture."""
    size = len(material.roughness)
    height, width = (int(size * rng.uniform(0.25, 0.6)) for _ in range(2))
    paper, ink = rng.uniform(0.5, 0.9) * rng.uniform(0.75, 1.0, 3), rng.uniform(0.01, 0.3, 3)
    if rng.random() < 0.25:
        paper, ink = ink, paper
    text = np.asarray(_printed(rng, height, width), np.float32)[..., None] / 255
    label = (paper + (ink - paper) * text).astype(np.float32)
    base, rough, metal, bump = (
        np.array(values) for values in (material.base_color, material.roughness, material.metallic, material.bump)
    )
    top, left, dull = int(rng.uniform(0.2, 0.8) * (size - height)), int(rng.integers(size)), rng.uniform(0.25, 0.9)
    rows = np.arange(top, top + height)[:, None]
    raised = bump.mean() + np.float32(0.5 / size)
    copies = int(rng.integers(1, size // width + 1))
    for copy in range(copies):
        columns = (left + copy * size // copies + np.arange(width)) % size
        where = (rows, columns[None])
        base[where], rough[where], metal[where] = label, dull, 0.0
        bump[where] = raised
    return replace(
        material,
        base_color=base,
        roughness=rough,
        metallic=metal,
        bump=bump,
        name=f"labelled {material.name}",
    )


def _printed(rng: Random, height: int, width: int) -> Image.Image:
    """Words in lines that fill a label between rules, 255 where there is ink."""
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.7:
        margin = max(1, height // 20)
        draw.rectangle(
            (margin, margin, width - 1 - margin, height - 1 - margin), outline=255, width=max(1, margin // 2)
        )
    lines = int(rng.integers(1, 5))
    room = height * 0.8 / lines
    for line in range(lines):
        words = " ".join(str(word) for word in rng.choice(_WORDS, int(rng.integers(1, 3))))
        # A letter of this font is about half as wide as high.
        font = ImageFont.load_default(max(4.0, min(room * rng.uniform(0.6, 0.95), 1.6 * width / len(words))))
        left, top, right, bottom = draw.textbbox((0, 0), words, font=font)
        middle = height * 0.1 + (line + 0.5) * room
        draw.text(((width - right - left) / 2, middle - (bottom + top) / 2), words, fill=255, font=font)
    return picture


def _mixed(a: Array, b: Array, share: Array) -> Array:
    return (a + (b - a) * share).astype(np.float32)

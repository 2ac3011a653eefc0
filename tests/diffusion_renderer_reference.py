"""DiffusionRenderer's official scripts, step by step, of diffusers' parts: written out from what is known of them."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from diffusion_renderer_folders import BUFFERS, VAE, Lights, plain_unet

SCALE, CHUNK = 0.18215, 8
TIME_IDS = torch.tensor([[7 - 1, 127, 0.0]])
FORWARD_BUFFERS = ("basecolor", "normal", "depth", "roughness", "metallic")


class Official:
    """The networks of a folder."""

    def __init__(self, folder: Path) -> None:
        state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        self.table = state.pop("context_embedding.weight", None)
        self.kind = json.loads((folder / "unet" / "config.json").read_text())["context_embedding_type"]
        self.unet = plain_unet(forward=self.table is None)
        self.unet.load_state_dict(state)
        config = {name: tuple(value) if isinstance(value, list) else value for name, value in VAE.items()}
        self.vae = AutoencoderKLTemporalDecoder(**config).eval()
        self.vae.load_state_dict(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))
        self.folder = folder
        self.adapted = 0.0

    def adapt(self, scale: float) -> None:
        """W + scale up @ down, in every layer that has an adapter."""
        file = load_file(self.folder / "lora" / "pytorch_lora_weights.safetensors")
        for name in [name for name in file if ".down." in name]:
            layer = self.unet.get_submodule(name.removeprefix("unet.").removesuffix(".lora.down.weight"))
            layer.weight.data += (scale - self.adapted) * (file[name.replace(".down.", ".up.")] @ file[name])
        self.adapted = scale

    def scheduler(self, spacing: str | None = None) -> EulerDiscreteScheduler:
        config = json.loads((self.folder / "scheduler" / "scheduler_config.json").read_text())
        return EulerDiscreteScheduler.from_config(config, **({"timestep_spacing": spacing} if spacing else {}))

    def encode(self, pictures: Tensor) -> Tensor:
        """(F, 3, H, W) in [0, 1] to latents, not scaled."""
        return self.vae.encode(pictures * 2 - 1).latent_dist.mode()

    def decode(self, latents: Tensor, rounded: bool = True) -> Tensor:
        """(F, 3, H, W) in [0, 1], eight frames at a time; rounded to 8 bits as PNGs are."""
        parts = [self.vae.decode(part, num_frames=len(part)).sample for part in (latents / SCALE).split(CHUNK)]
        pictures = (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
        return (pictures * 255).round() / 255 if rounded else pictures

    def walk(self, noise: Tensor, steps: int, evaluate, scheduler: EulerDiscreteScheduler) -> Tensor:
        """Euler steps from noise (F, 4, h, w); `evaluate` takes scaled latents (1, F, 4, h, w) and a time."""
        scheduler.set_timesteps(steps)
        latents = noise[None] * scheduler.init_noise_sigma
        for time in scheduler.timesteps:
            output = evaluate(scheduler.scale_model_input(latents, time), time)
            latents = scheduler.step(output, time, latents).prev_sample
        return latents[0]

    @torch.no_grad()
    def inverse(self, frames: Tensor, buffer: str, noise: Tensor, steps: int) -> Tensor:
        """The latents of one buffer, of frames (F, 3, H, W) in [0, 1] at the size of the network."""
        condition, row = self.encode(frames), self.table[BUFFERS.index(buffer)]
        row = row * min(1.0, 10 / float(row.norm()))

        def evaluate(latents: Tensor, time: Tensor) -> Tensor:
            token = torch.zeros(1, 1, self.unet.config.cross_attention_dim)
            if self.kind == "clip":
                return self.unet(torch.cat((latents, condition[None]), 2), time, token + row, TIME_IDS).sample
            hook = self.unet.add_embedding.register_forward_hook(lambda *call: call[-1] + row)
            output = self.unet(torch.cat((latents, condition[None]), 2), time, token, TIME_IDS).sample
            hook.remove()
            return output

        return self.walk(noise, steps, evaluate, self.scheduler())

    @torch.no_grad()
    def forward(
        self, buffers: dict[str, Tensor], environment: list[Tensor], noise: Tensor, steps: int, guidance: float
    ) -> Tensor:
        """The latents of a clip: buffers (F, 3, H, W) in [0, 1] at the size of the network; the environment's pictures
        (F, 3, H, W) in [0, 1]: LDR, log, direction."""
        condition = torch.cat([self.encode(buffers[name]) * SCALE for name in FORWARD_BUFFERS], 1)[None]
        levels = self.light_levels(environment)

        def evaluate(latents: Tensor, time: Tensor) -> Tensor:
            full = self.lit(torch.cat((latents, condition), 2), time, levels)
            if guidance <= 1:
                return full
            nothing = [torch.zeros_like(level) for level in levels]
            least = self.lit(torch.cat((latents, torch.zeros_like(condition)), 2), time, nothing)
            return least + guidance * (full - least)

        return self.walk(noise, steps, evaluate, self.scheduler("trailing"))

    def light_levels(self, environment: list[Tensor]) -> list[Tensor]:
        """Tokens (F, N, D) of every level."""
        lights = Lights().eval()
        lights.load_state_dict(load_file(self.folder / "env_encoder" / "diffusion_pytorch_model.safetensors"))
        hidden = lights.conv_in(torch.cat([self.encode(picture) * SCALE for picture in environment], 1))
        levels = []
        for block in lights.down_blocks:
            hidden = block(hidden)
            levels.append(hidden.flatten(2).transpose(1, 2))
        return levels

    def lit(self, sample: Tensor, time: Tensor, levels: list[Tensor]) -> Tensor:
        """The UNet walked through by hand, each block with the tokens of its level."""
        unet, frames = self.unet, sample.shape[1]
        ids = unet.add_time_proj(TIME_IDS.flatten()).reshape(1, -1).to(sample)
        told = unet.time_embedding(unet.time_proj(time[None]).to(sample)) + unet.add_embedding(ids)
        told, clip = told.expand(frames, -1), torch.zeros(1, frames)
        hidden = unet.conv_in(sample[0])
        passed = [hidden]
        for level, block in enumerate(unet.down_blocks):
            lit = {"encoder_hidden_states": levels[level]} if hasattr(block, "attentions") else {}
            hidden, more = block(hidden, temb=told, image_only_indicator=clip, **lit)
            passed += more
        hidden = unet.mid_block(hidden, temb=told, encoder_hidden_states=levels[3], image_only_indicator=clip)
        for level, block in zip((3, 2, 1, 0), unet.up_blocks, strict=True):
            count = len(block.resnets)
            skips, passed = tuple(passed[-count:]), passed[:-count]
            lit = {"encoder_hidden_states": levels[level]} if hasattr(block, "attentions") else {}
            hidden = block(hidden, res_hidden_states_tuple=skips, temb=told, image_only_indicator=clip, **lit)
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))[None]


def covered(codes: np.ndarray, side: int) -> np.ndarray:
    """An 8-bit picture (H, W, 3) at the size of the network: covers a square of that side, and on to multiples of
    64."""
    height, width = codes.shape[:2]
    if (height, width) == (side, side):
        return codes
    scale = max(side / width, side / height)
    size = [max(64, -(-int(length * scale) // 64) * 64) for length in (width, height)]
    return np.asarray(Image.fromarray(codes).resize(size, Image.BILINEAR))


def environment_pictures(light: Tensor, size: int, angles: list[float], elevation: float = 0.0) -> list[Tensor]:
    """LDR, log and direction, (F, 3, size, size) each in [0, 1], of a light (H, W, 3) as its file has it; `angles` in
    radians turn it, `elevation` in degrees raises the camera."""
    light = torch.nan_to_num(light, nan=0.0).clamp(0, 65504)
    light = torch.roll(light, light.shape[1] // 2, 1)
    faces = _faces(light)
    direction = _directions(size)
    c, s = np.cos(np.radians(elevation)), np.sin(np.radians(elevation))
    camera = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float32)
    found = []
    for angle in angles:
        c, s = np.cos(angle), np.sin(angle)
        turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float32)
        found.append(_from_faces(faces, torch.einsum("ij,hwj->hwi", turn @ camera, direction)))
    hdr = torch.stack(found).permute(0, 3, 1, 2)
    ldr = _srgb((hdr * (1 + hdr / 16**2) / (1 + hdr)).clamp(0, 1))
    log = _srgb(torch.log1p(hdr) / np.log1p(10000)).clamp(0, 1)
    return [ldr, log, (direction * 0.5 + 0.5).permute(2, 0, 1).expand(len(angles), -1, -1, -1)]


def _directions(size: int) -> Tensor:
    """X right, Y up, Z to the viewer: the middle is +Z, three quarters +X."""
    polar = torch.linspace(1 / size, 1 - 1 / size, size) * np.pi
    around = (torch.arange(size) + 0.5) / size * 2 * np.pi - np.pi
    polar, around = torch.meshgrid(polar, around, indexing="ij")
    return torch.stack((polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()), -1)


def _faces(light: Tensor, side: int = 512) -> Tensor:
    """(6, side, side, 3): +X, -X, +Y, -Y, +Z, -Z."""
    y, x = torch.meshgrid(*[(torch.arange(side) + 0.5) / side * 2 - 1] * 2, indexing="ij")
    one = torch.ones_like(x)
    vectors = ((one, -y, -x), (-one, -y, x), (x, one, y), (x, -one, -y), (x, -y, one), (-x, -y, -one))
    faces = []
    for parts in vectors:
        d = torch.stack(parts, -1).double()  # an arc cosine of single precision would be off by 3e-4 near the poles
        d = d / d.norm(dim=-1, keepdim=True)
        u, v = torch.atan2(d[..., 0], -d[..., 2]) / (2 * np.pi) + 0.5, torch.acos(d[..., 1].clamp(-1, 1)) / np.pi
        faces.append(_bilinear(light, u, v, wrap=True).float())
    return torch.stack(faces)


PLACES = (
    lambda x, y, z: (x, -z, -y),
    lambda x, y, z: (-x, z, -y),
    lambda x, y, z: (y, x, z),
    lambda x, y, z: (-y, x, -z),
    lambda x, y, z: (z, x, -y),
    lambda x, y, z: (-z, -x, -y),
)
"""Of a direction, how far across a face it is, along its columns and down its rows."""


def _from_faces(faces: Tensor, d: Tensor) -> Tensor:
    """Bilinear within a face, and from its outermost texels to those over the edge."""
    framed = torch.stack([_framed(faces, index) for index in range(6)])
    side, most, found = faces.shape[1], d.abs().amax(-1), torch.zeros(*d.shape)
    for face, place in zip(framed, PLACES, strict=True):
        across, along, down = place(*d.unbind(-1))
        here = across >= most
        u, v = ((part[here] / across[here] + 1) / 2 * side + 1 for part in (along, down))
        found[here] = _bilinear(face, u / (side + 2), v / (side + 2), wrap=False)
    return found


def _framed(faces: Tensor, index: int) -> Tensor:
    """(side + 2, side + 2, 3): a face, and the texels of its neighbours around it; at the corners, where three faces
    meet, the mean of the texels there."""
    side = faces.shape[1]
    framed = torch.zeros(side + 2, side + 2, 3)
    framed[1:-1, 1:-1] = faces[index]
    inner = (torch.arange(side) + 0.5) / side * 2 - 1
    ones, inside = torch.ones(side), torch.full((side,), 1 - 1 / side)
    for rows, columns, along, down in (
        (slice(1, -1), 0, -ones, inner),
        (slice(1, -1), -1, ones, inner),
        (0, slice(1, -1), inner, -ones),
        (-1, slice(1, -1), inner, ones),
    ):
        framed[rows, columns] = _nearest(faces, _vectors(index, inside, along, down))
    for row in (0, -1):
        for column in (0, -1):
            near = (1 if row == 0 else -2, 1 if column == 0 else -2)
            framed[row, column] = (framed[row, near[1]] + framed[near[0], column] + framed[near]) / 3
    return framed


def _vectors(index: int, across: Tensor, along: Tensor, down: Tensor) -> Tensor:
    """The directions of places on a face: the inverse of `PLACES`."""
    parts = (
        (across, -down, -along),
        (-across, -down, along),
        (along, across, down),
        (along, -across, -down),
        (along, -down, across),
        (-along, -down, -across),
    )
    return torch.stack(parts[index], -1)


def _nearest(faces: Tensor, d: Tensor) -> Tensor:
    """The texel that each direction (N, 3) lies in."""
    side, found = faces.shape[1], torch.zeros(len(d), 3)
    for face, place in zip(faces, PLACES, strict=True):
        across, along, down = place(*d.unbind(-1))
        here = across >= d.abs().amax(-1)
        column, row = (((part[here] / across[here] + 1) / 2 * side).long().clamp(0, side - 1) for part in (along, down))
        found[here] = face[row, column]
    return found


def _bilinear(picture: Tensor, u: Tensor, v: Tensor, wrap: bool) -> Tensor:
    height, width = picture.shape[:2]
    x, y = u * width - 0.5, v * height - 0.5
    left, top = x.floor(), y.floor()
    total = 0
    for i, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
        for j, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
            column = i.long() % width if wrap else i.long().clamp(0, width - 1)
            row = j.long() % height if wrap else j.long().clamp(0, height - 1)
            total = total + picture[row, column] * (wx * wy)[..., None]
    return total


def _srgb(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)

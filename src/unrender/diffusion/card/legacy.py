"""The flat `unrender.json` of unrender 0.1, brought into the parts that a card has now."""

from __future__ import annotations

from typing import Any

_IDENTITY = ("id", "system", "licence", "commercial", "source", "description")


def is_flat(facts: dict[str, Any]) -> bool:
    """Whether a card is in the flat layout: its targets were `pictures`, beside its id."""
    return "pictures" in facts and "identity" not in facts


def from_flat(facts: dict[str, Any]) -> dict[str, Any]:
    """The same card in parts. What is unknown is carried along, for the reader to name."""
    old = dict(facts)
    identity = {name: old.pop(name) for name in _IDENTITY if name in old}
    if "rest" in identity.get("source", {}):
        identity["source"] = dict(identity["source"])
        identity["source"]["fallback"] = identity["source"].pop("rest")
    targets = old.pop("pictures")
    maps = _taken(old, size="size", depth_kind="depth_kind", edits="edits", composite="composite", mirrored="flip_tta")
    maps["targets"] = targets
    if "given" in old:
        maps["inputs"] = [_input(one) for one in old.pop("given")]
    latents = _taken(old, latent_channels="channels", latent_scale="scale", posterior="posterior")
    if "concatenation" in old:
        latents["order"] = str(old.pop("concatenation")).replace("given_first", "inputs_first")
    sampling = _taken(old, noise="noise", guidance="guidance", schedule="schedule")
    if "schedule" in sampling:
        sampling["schedule"] = {"kind": "ddpm", **sampling["schedule"]}
    sampling["grouping"] = _grouping(old)
    quirks = _quirks(old)
    conditioning = _conditioning(old, targets)
    names = {codec.get("map") for target in targets for codec in target.get("maps", ())}
    return {
        "identity": identity,
        "task": "forward" if "rgb" in names else "inverse",
        "maps": maps,
        "latents": latents,
        "conditioning": conditioning,
        "sampling": sampling,
        "quirks": quirks,
        **old,
    }


def _taken(old: dict[str, Any], **names: str) -> dict[str, Any]:
    return {new: old.pop(name) for name, new in names.items() if name in old}


def _input(given: dict[str, Any]) -> dict[str, Any]:
    return {("radiance_hint" if name == "rendered" else name): value for name, value in given.items()}


def _grouping(old: dict[str, Any]) -> dict[str, Any]:
    apart = old.pop("passes", "stacked") == "one_each"
    joint, shared = old.pop("joint_attention", False), old.pop("shared_noise", False)
    return {
        "item": "target" if apart else "frame",
        "joint": "targets" if joint else "none",
        "shared_noise": "frames_and_targets" if shared else "frames",
    }


def _quirks(old: dict[str, Any]) -> dict[str, Any]:
    quirks = dict(old.pop("quirks", {}))
    if quirks.get("given") is not None:
        quirks["inputs"] = [_input(one) for one in quirks.pop("given")]
    if "pictures" in quirks:
        quirks["targets"] = quirks.pop("pictures")
    return quirks


def _conditioning(old: dict[str, Any], targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    domains, in_numbers = old.pop("domains", []), old.pop("domain_task", False)
    padded, light = old.pop("padded_prompts", False), old.pop("light", None)
    conditioning: list[dict[str, Any]] = []
    if targets and targets[0].get("task"):
        conditioning.append({"kind": "task", "domains": domains if in_numbers else []})
    if old.pop("image_tokens", False):
        return [*conditioning, {"kind": "image"}]
    if light is not None:
        return [*conditioning, {"kind": "light", **light}]
    return [*conditioning, {"kind": "text", "padded": padded, "domains": [] if in_numbers else domains}]

"""Tiny real text and image encoders with random weights, in the folders and files of published models.

The words are told letter by letter: what is told apart is told apart by its letters, signs and case are lost.
"""

import json
import string
from pathlib import Path

import safetensors.torch
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

START, END, PADDING = "<|startoftext|>", "<|endoftext|>", "!"
# As in Stable Diffusion 2, padding is the first word of the vocabulary, and is not the end.
VOCABULARY = [PADDING, *string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase), START, END]
LIMIT = 77
IMAGE_SIZE = 32
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def write_text_encoder(folder: Path, width: int, seed: int = 0) -> None:
    """Writes `text_encoder/` and `tokenizer/` of a CLIP that gives tokens of `width` (even), into a model folder."""
    torch.manual_seed(seed)
    start, end = VOCABULARY.index(START), VOCABULARY.index(END)
    config = CLIPTextConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LIMIT,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=0,
    )
    _write(CLIPTextModel(config), folder / "text_encoder", prefix="text_model.")
    _write_tokenizer(folder / "tokenizer")


def write_image_encoder(folder: Path, width: int, seed: int = 0) -> None:
    """Writes `image_encoder/` and `feature_extractor/` of a CLIP that gives one token of `width`, for pictures of
    32 x 32, into a model folder."""
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    _write(CLIPVisionModelWithProjection(config), folder / "image_encoder", prefix="vision_model.")
    said = {"image_mean": MEAN, "image_std": STD, "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", said)


def _write(model: torch.nn.Module, folder: Path, prefix: str) -> None:
    """As published files are: every layer under `prefix`, and the numbers of the positions among the weights."""
    # Weights as large as those of a trained network: fresh ones hardly tell one text from another.
    state = {name: torch.randn_like(value) * 0.5 for name, value in model.state_dict().items()}
    named = {name if name.startswith((prefix, "visual_")) else prefix + name: value for name, value in state.items()}
    positions = [value for name, value in model.named_buffers() if name.endswith("embeddings.position_ids")]
    named[f"{prefix}embeddings.position_ids"] = positions[0].clone()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    safetensors.torch.save_file(named, folder / "model.safetensors", {"format": "pt"})


def _write_tokenizer(folder: Path) -> None:
    _write_json(folder / "vocab.json", {word: index for index, word in enumerate(VOCABULARY)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    _write_json(folder / "special_tokens_map.json", {"bos_token": START, "eos_token": END, "pad_token": PADDING})
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LIMIT, "unk_token": END, "pad_token": END}
    _write_json(folder / "tokenizer_config.json", said)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")

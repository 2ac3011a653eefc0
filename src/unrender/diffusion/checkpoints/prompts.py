TOKENS_FILE = "tokens.safetensors"


def prompt_tokens(home):
    from unrender.diffusion.checkpoints.tensors import read_tensors

    return dict(read_tensors(home.folder / TOKENS_FILE))


def embed_prompts(home, texts, padded):
    raise NotImplementedError

"""A small vocabulary in CLIP's layout: byte-pair merges (Sennrich et al. 2016) of a list of words, in which every word
is one token and any other text is still spelt out of bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(words: Sequence[str], length: int) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of its own: 256 bytes, 256 bytes at the end of a word, merges, two marks.

    Args:
        words: lower-case words that are to be one token each.
        length: tokens to which prompts are padded and cut.
    """
    from transformers import CLIPTokenizer

    merges, letters = merges_of(words), _alphabet()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=cast("list[str]", merges), model_max_length=length)


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def merges_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merges, first the commonest and of equally common ones the first by name, until every word is one token. (The
    trainer of `tokenizers` breaks ties by the order of its hash maps, another one in every process.)"""
    spelt = [[*word[:-1], f"{word[-1]}</w>"] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for word in spelt for pair in pairwise(word)):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        spelt = [_merged(word, merges[-1]) for word in spelt]
    return merges


def _merged(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for token in word:
        if found and (found[-1], token) == pair:
            found[-1] += token
        else:
            found.append(token)
    return found

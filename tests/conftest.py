"""Torch on one thread: the tests' tensors are small, and the machine's cores are shared."""

import torch

torch.set_num_threads(1)

"""CLIP's encoders: prompts embedded once and kept beside the weights, captions, and pictures as tokens."""

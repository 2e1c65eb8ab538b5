"""Pictures to vectors, at the speed of the hardware: load, encode, save.

Importing this package does not import torch, and neither does loading and using an encoder whose folder holds
`network.onnx`.
"""

from __future__ import annotations

from retrieval.encoder.config import EncoderConfig
from retrieval.encoder.encoder import DEFAULT, Encoder, save_trained
from retrieval.encoder.shares import VectorShares

__all__ = ["DEFAULT", "Encoder", "EncoderConfig", "VectorShares", "save_trained"]

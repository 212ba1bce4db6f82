"""Checkpoint and text to text: export, translate."""

import sys

# Importing ctranslate2 imports transformers, where they are installed, and these would import
# torchaudio, whose build for CUDA (fairseq brings it) does not load beside torch's for the CPU.
sys.modules.setdefault("torchaudio", None)  # type: ignore[arg-type]

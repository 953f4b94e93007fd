"""Scores of trials from embeddings: cosine, PLDA and distance; normalisation and calibration (without torch)."""

"""Scores trials from embeddings: cosine, PLDA and crop distance, normalisation and calibration (without torch)."""

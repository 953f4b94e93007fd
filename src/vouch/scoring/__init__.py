"""Scores of trials from embeddings: cosine similarity and its normalisation against a cohort (numpy only)."""

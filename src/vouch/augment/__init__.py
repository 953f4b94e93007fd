"""Augmentation: what is added to speech so that a network learns to ignore it."""

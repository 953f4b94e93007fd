"""Augmentation of training speech, so that a network learns to ignore noise."""

"""Vouch: train and evaluate speaker-verification systems on Kaldi-format data."""

__version__ = "0.1.0"

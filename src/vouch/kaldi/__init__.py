"""Kaldi's files: tables, archives, data directories and trial lists."""

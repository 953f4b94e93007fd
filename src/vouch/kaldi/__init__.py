"""Kaldi's file formats: tables, archives, data directories and trial lists."""

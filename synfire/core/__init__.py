"""Foundations that every room stands on: registries, errors, optional imports, files, time folding, streams."""

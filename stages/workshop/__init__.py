"""Provide the code that all stages share, which no lesson is about."""

"""Provide the code that all stages share; it is not part of any lesson."""

"""Provide what every stage shares and what is not part of the lesson."""

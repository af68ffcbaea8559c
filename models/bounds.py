"""Numbers that requests are held to, for those who check them without loading a model."""

from typing import Final

MAX_DAYS: Final = 10_000
"""Closes that one series may have: forty years of days."""
MAX_HORIZON: Final = 20
"""Days ahead that a forecast may go."""
DEFAULT_MODEL: Final = "lstm"
"""The model that answers where none is named."""

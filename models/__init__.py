"""Knows forecasting: daily closes in, tomorrow's quantiles out."""

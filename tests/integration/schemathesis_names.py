"""What the test and its hooks, which schemathesis loads in a process of its own, both know."""

SPARE = "spare"
"""The model that may be unloaded, since the others are asked for forecasts."""

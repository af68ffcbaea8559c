"""What the test and its hooks, which schemathesis loads in a process of its own, both know."""

SPARE = "spare"
"""The model that may be unloaded, since the others are asked for forecasts."""
CANCELLED = "NEXTDAY_TESTS_CANCELLED"
"""The variable with the id of a job that was cancelled, for there is hardly a chance of meeting one to resume."""

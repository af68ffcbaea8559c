"""Answers HTTP. `service.app` wires it, `service.serve` runs it."""

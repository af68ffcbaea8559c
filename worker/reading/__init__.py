"""Uploads of any format, layout and encoding as record batches of series, read piece by piece."""

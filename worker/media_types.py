"""Media types of what jobs take and give, and the suffixes of files by which they are known."""

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW_FILE, ARROW_STREAM = "application/vnd.apache.arrow.file", "application/vnd.apache.arrow.stream"

BY_SUFFIX = {
    ".csv": CSV,
    ".ndjson": NDJSON,
    ".jsonl": NDJSON,
    ".json": JSON,
    ".parquet": PARQUET,
    ".arrow": ARROW_FILE,
    ".arrows": ARROW_STREAM,
}
ENCODINGS_BY_SUFFIX = {".gz": "gzip", ".zst": "zstd"}
"""By a second suffix behind the first, as in prices.csv.gz."""
RESULT_SUFFIXES = {NDJSON: "ndjson", CSV: "csv", PARQUET: "parquet", ARROW_FILE: "arrow", ARROW_STREAM: "arrows"}
"""Media types of what can be had, with the suffix of each."""

"""Collections as files: ``ndjson``, ``npy``, ``parquet``. Each file appears under its name only when it is complete."""

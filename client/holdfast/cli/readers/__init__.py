"""Files of vectors as rows, read with bounded memory: ``json``, ``ndjson``, ``csv``, ``npy``, ``parquet``."""

"""Files, clock, log, segments, manifest: the only users of os, mmap and time."""

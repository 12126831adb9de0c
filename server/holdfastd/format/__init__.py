"""Pure codecs of everything that is on disk: bytes in, values out (see FORMAT.md)."""

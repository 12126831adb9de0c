"""What tests share: file systems that fail, clocks that obey, and judges of the sources."""

"""Holdfast's benchmarks: Holdfast, its peers and the machine's floor, side by side in one run."""

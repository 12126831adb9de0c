"""Embedded stores that keep the same rows as Holdfast; each runs in a process and an environment of its own."""

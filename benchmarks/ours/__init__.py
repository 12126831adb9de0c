"""Holdfast as a contender: a real daemon in a process of its own, driven through the client library."""

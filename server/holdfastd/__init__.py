"""The daemon of Holdfast: a durable vector store's engine and its gRPC service."""

__version__ = "0.1.0"

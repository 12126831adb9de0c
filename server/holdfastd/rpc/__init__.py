"""Floor 3: the engine over gRPC. A handler checks, converts, calls the engine and converts back; nothing more."""

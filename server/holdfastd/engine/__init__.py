"""The engine: the only door is engine.engine; the only users of threading."""

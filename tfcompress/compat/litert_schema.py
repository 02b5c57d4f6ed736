"""The Python code that LiteRT generates from the schema of .tflite files."""

from ai_edge_litert import schema_py_generated as schema

__all__ = ["schema"]

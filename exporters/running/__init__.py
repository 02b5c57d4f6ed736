"""Runtimes found and files run: in this process, or in a child that may crash."""

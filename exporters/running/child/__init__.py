"""The program of the child process that loads files from anywhere.

``__main__`` is started by the path of this folder, with any Python that has NumPy and a runtime: it
imports its two neighbours as top-level modules and nothing else of this project.
"""

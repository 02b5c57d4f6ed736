"""Scripts in processes of their own that begin with Keras imported: its import takes 4 seconds."""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

# Forked from a process that has imported modules and done nothing else.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["keras", "pytest"])


class StartedScript:
    """A script that runs by itself; used as ``subprocess.Popen`` is."""

    def __init__(self, script, *arguments):
        self._outputs = tempfile.TemporaryDirectory()
        command = [str(script), *map(str, arguments)]
        files = [str(pathlib.Path(self._outputs.name, name)) for name in ("stdout", "stderr")]
        self._process = _CONTEXT.Process(target=_run, args=(command, dict(os.environ), files))
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    poll = returncode.fget

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("the script", timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for the end, and return what the script wrote to both streams."""
        self.wait(timeout)
        folder = pathlib.Path(self._outputs.name)
        return tuple((folder / name).read_text() for name in ("stdout", "stderr"))


def run_script(script, *arguments, timeout=300):
    """Run a script to its end, as ``subprocess.run`` does with its output captured."""
    started = StartedScript(script, *arguments)
    try:
        output, errors = started.communicate(timeout)
    finally:
        started.kill()
    return subprocess.CompletedProcess(script, started.returncode, output, errors)


def _run(command, environment, files):
    """Be the script in the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    sys.argv = command
    sys.path.insert(0, os.path.dirname(command[0]))
    runpy.run_path(command[0], run_name="__main__")

"""Answer requests on standard input until it closes.

Arguments: the runtime's module; bytes of memory beyond what the runtime's import takes (0: free).
"""

import os
import sys

import messages
import numpy as np
import session


def limit_memory(allowed):
    """Let this process take so many bytes more than it has now, and write no core file."""
    try:
        import resource
    except ImportError:  # on Windows, where there are neither limits nor core files
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if allowed:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + allowed, now + allowed))


def own_standard_output():
    """Keep the pipe for messages alone: what a runtime prints goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def answer(state, body, arrays):
    """Carry out one request.

    Args:
        state: a dict that holds the session between requests.
        body: the request; ``body["do"]`` names it.
        arrays: its arrays.

    Returns:
        (body, arrays) of the answer.
    """
    if body["do"] == "load":
        state.clear()
        state["session"] = session.Session(content=arrays[0].tobytes(), **body["settings"])
        return {"peak_memory": session.peak_memory()}, []
    if body["do"] == "run":
        return {}, state["session"].run(arrays, body["tensors"])
    if body["do"] == "feed":
        state["session"].feed(arrays)
        return {}, []
    if body["do"] == "time":
        seconds = state["session"].time(body["runs"])
        return {"peak_memory": session.peak_memory()}, [np.array(seconds)]
    raise ValueError("unknown request: " + body["do"])


def write(pipe, pieces):
    """Write a message."""
    for piece in pieces:
        pipe.write(piece)
    pipe.flush()


def main():
    """Answer one request after the other."""
    pipe = own_standard_output()
    session.interpreter_types(sys.argv[1])
    limit_memory(int(sys.argv[2]))
    write(pipe, messages.pack({"ready": True, "peak_memory": session.peak_memory()}))
    state = {}
    while sys.stdin.buffer.peek(1):
        body, arrays = messages.unpack(sys.stdin.buffer.read)
        try:
            pieces = messages.pack(*answer(state, body, arrays))
        except Exception as error:  # whatever the runtime raises is the answer
            pieces = messages.pack({"error": str(error), "type": type(error).__name__})
        write(pipe, pieces)


main()

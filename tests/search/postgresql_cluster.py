"""A PostgreSQL server for a test: its own cluster, on the loopback interface, gone afterwards."""

import contextlib
import glob
import os
import pathlib
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile

# Debian keeps the server's programs out of the path.
_FOLDERS = os.pathsep.join(
    [os.environ.get("PATH", ""), *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
)


def missing():
    """Say what is missing for a cluster; None if nothing is."""
    absent = [name for name in ("initdb", "pg_ctl") if _program(name) is None]
    if absent:
        return f"needs PostgreSQL's server programs (Debian: postgresql): no {', '.join(absent)}"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no account to run it as"
    return None


@contextlib.contextmanager
def cluster():
    """Yield the URL of a new cluster; stop it and remove it afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tfcompress-postgresql-"))
    password = secrets.token_hex(16)
    port = _free_port()
    (folder / "password").write_text(password)
    who = {}
    if os.geteuid() == 0:
        account = _account()
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        for path in (folder, folder / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)
    data = folder / "data"

    def call(name, *arguments):
        command = [_program(name), "-D", data, *arguments]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            check=False, timeout=60, **who,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()

    try:
        call(
            "initdb", "-U", "tester", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "-N"
        )
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {port} -k {folder}"
        call("pg_ctl", "start", "-w", "-l", folder / "log", "-o", options)
        try:
            yield f"postgresql+psycopg://tester:{password}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def _program(name):
    return shutil.which(name, path=_FOLDERS)


def _account():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

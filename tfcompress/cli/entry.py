"""Where the installed command begins and ends."""

import signal


def main() -> None:
    """Run the command; Ctrl-C before and after its work ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from tfcompress.cli.main import run

    run()

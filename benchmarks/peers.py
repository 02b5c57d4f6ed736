"""The packages that results are compared with, and why one takes no part."""

import importlib.util

PEERS = {"TFMOT": ("tensorflow_model_optimization", "tf_keras")}


def why_missing(peer):
    """Return why a peer takes no part, None where it is installed.

    Args:
        peer: a key of ``PEERS``.
    """
    missing = [module for module in PEERS[peer] if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def those_present(methods, peer_of):
    """Tell methods that can be run from those whose peer is missing.

    Args:
        methods: their names.
        peer_of: {method: key of ``PEERS``}; the others need no peer.

    Returns:
        The methods that can be run, and {method: reason} of the others.
    """
    reasons = {method: why_missing(peer_of[method]) for method in methods if method in peer_of}
    left_out = {method: reason for method, reason in reasons.items() if reason}
    for method, reason in left_out.items():
        print(f"{method} is left out: {reason}", flush=True)
    return [method for method in methods if method not in left_out], left_out

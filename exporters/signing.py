"""Signatures of bundles: proof of who wrote them, with a key of one's own.

The format is that of OpenSSF's model-signing (https://github.com/sigstore/model-transparency).
"""

import os
import pathlib

from tfcompress.extras import missing_extra

SIGNATURE = "model.sig"


def sign_bundle(directory: str | os.PathLike, private_key: str | os.PathLike) -> pathlib.Path:
    """Sign every file of a bundle; ``run_on_device.py --public-key KEY`` verifies it.

    Args:
        directory: what ``write_bundle`` wrote.
        private_key: the path of an elliptic-curve key in PEM, without a password, as ``openssl
            ecparam -name prime256v1 -genkey -noout`` makes it. Keep it out of the bundle.

    Returns:
        The signature's path, in the bundle.

    Raises:
        FileNotFoundError: the bundle or the key does not exist.
        ImportError: model-signing is not installed.

    Example:
    ```python
    sign_bundle(write_bundle(result, "bundle", examples=x_test), "private.pem")
    ```
    """
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise ImportError(missing_extra("A signature", "signature")) from error
    directory, private_key = pathlib.Path(directory), pathlib.Path(private_key)
    for path in (directory / "manifest.json", private_key):
        if not path.is_file():
            raise FileNotFoundError(f"There is no such file. Received: {os.fspath(path)!r}")
    hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
    signer.set_hashing_config(hashed).sign(directory, directory / SIGNATURE)
    return directory / SIGNATURE

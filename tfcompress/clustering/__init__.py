"""Weight clustering: weights that share few values, trained further and stored small."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Reports: everything that is known about a file, as data, as a page, as Markdown and as JSON."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

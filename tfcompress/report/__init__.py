"""Reports: everything that is known about a file, as data, as a page, as Markdown and as JSON."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"examine": ["examine"], "findings": ["Findings"], "rendering": ["write_report"]},
)

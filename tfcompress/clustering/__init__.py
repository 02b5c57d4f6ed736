"""Clustering: weights that share few values, trained further and stored small."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustered": ["cluster_weights", "release_clusters", "unique_weights"],
        "constraint": ["ClusterConstraint"],
    },
)

"""Clustering: weights that share few values, trained further and stored small."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustered": ["cluster_weights"],
        "constraining": ["release_clusters"],
        "constraint": ["ClusterConstraint"],
        "differentiable": ["DifferentiableClusters"],
        "soft_kmeans": ["DifferentiableKMeans"],
        "summary": ["cluster_summary", "unique_weights"],
    },
)

"""Weight clustering: weights that share few values, trained further and stored small."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "constraint": ["ClusterConstraint", "release_clusters"],
        "differentiable": ["DifferentiableClusters"],
        "soft_kmeans": ["DifferentiableKMeans"],
        "summary": ["cluster_summary", "unique_weights"],
        "weight_clustering": ["cluster_weights"],
    },
)

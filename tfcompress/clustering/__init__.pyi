from .constraint import ClusterConstraint as ClusterConstraint
from .constraint import release_clusters as release_clusters
from .differentiable import DifferentiableClusters as DifferentiableClusters
from .soft_kmeans import DifferentiableKMeans as DifferentiableKMeans
from .summary import cluster_summary as cluster_summary
from .summary import unique_weights as unique_weights
from .weight_clustering import cluster_weights as cluster_weights

"""Encoding on a Ray cluster: the one room that knows Ray.

:class:`RayCluster` says which cluster, and with how many workers; whatever encodes many pictures takes one.
"""

from retrieval.cluster.ray_cluster import RayCluster

__all__ = ["RayCluster"]

"""The other libraries, each as its own documentation or its usual users set it up.

All search unit vectors by Euclidean distance, which orders them as the inner product does and at which graphs are at
home, but for ScaNN, whose quantizer is made for the inner product.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from contest.data import Floats, K
from contest.system import SEED, WIDTHS, Built, Means, Searches, Setting, construction, grid, ladder, probes


def hnswlib(vectors: Floats, _: Means) -> Built:
    import hnswlib as library

    width = construction(len(vectors))
    index = library.Index("l2", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=width, random_seed=SEED)
    index.set_num_threads(1)
    index.add_items(vectors)

    def use(setting: Setting) -> Searches:
        index.set_ef(int(setting["ef"]))
        return Searches(search, search)

    def search(queries: Floats) -> Any:
        return index.knn_query(queries, K)[0]

    return Built(f"M 16, ef_construction {width}", ladder("ef", WIDTHS), use)


def usearch(vectors: Floats, _: Means) -> Built:
    from usearch.index import Index

    width = construction(len(vectors))
    index = Index(ndim=vectors.shape[1], metric="l2sq", dtype="f16", connectivity=16, expansion_add=width)
    index.add(np.arange(len(vectors)), vectors, threads=1)

    def use(setting: Setting) -> Searches:
        index.expansion_search = int(setting["expansion"])
        return Searches(
            lambda query: index.search(query[0], K, threads=1).keys,
            lambda queries: index.search(queries, K, threads=1).keys,
        )

    return Built(f"f16, connectivity 16, expansion_add {width}", ladder("expansion", WIDTHS), use)


def voyager(vectors: Floats, _: Means) -> Built:
    from voyager import Index, Space

    width = construction(len(vectors))
    index = Index(
        Space.Euclidean, vectors.shape[1], M=16, ef_construction=width, random_seed=SEED, max_elements=len(vectors)
    )
    index.add_items(vectors, num_threads=1)

    def use(setting: Setting) -> Searches:
        ef = int(setting["query_ef"])
        return Searches(
            lambda query: index.query(query[0], K, 1, ef)[0],
            lambda queries: index.query(queries, K, 1, ef)[0],
        )

    return Built(f"M 16, ef_construction {width}", ladder("query_ef", WIDTHS), use)


def nmslib(vectors: Floats, _: Means) -> Built:
    import nmslib as library

    width = construction(len(vectors))
    index = library.init(method="hnsw", space="l2")
    index.addDataPointBatch(vectors)
    index.createIndex({"M": 16, "efConstruction": width, "indexThreadQty": 1, "post": 2})

    def use(setting: Setting) -> Searches:
        index.setQueryTimeParams({"efSearch": int(setting["efSearch"])})
        return Searches(
            lambda query: index.knnQuery(query[0], K)[0],
            lambda queries: [ids for ids, _ in index.knnQueryBatch(queries, K, 1)],
        )

    return Built(f"hnsw, M 16, efConstruction {width}, post 2", ladder("efSearch", WIDTHS), use)


def scann(vectors: Floats, _: Means) -> Built:
    from scann import scann_ops_pybind

    leaves = max(1, round(math.sqrt(len(vectors))))
    index = (
        scann_ops_pybind.builder(vectors, K, "dot_product")
        .tree(leaves, max(1, leaves // 20), training_sample_size=min(len(vectors), 100 * leaves))
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .set_n_training_threads(1)
        .build()
    )

    def use(setting: Setting) -> Searches:
        settings = {
            "pre_reorder_num_neighbors": int(setting["reorder"]),
            "leaves_to_search": int(setting["leaves"]),
        }
        return Searches(
            lambda query: index.search(query[0], K, **settings)[0],
            lambda queries: index.search_batched(queries, K, **settings)[0],
        )

    return Built(
        f"tree of {leaves} leaves, AH 2, reordering", grid(reorder=(40, 100, 200, 400), leaves=probes(2 * leaves)), use
    )


def svs(vectors: Floats, _: Means) -> Built:
    import svs as library

    width = construction(len(vectors))
    parameters = library.VamanaBuildParameters(alpha=1.2, graph_max_degree=32, window_size=width)
    index = library.Vamana.build(parameters, vectors.astype(np.float16), library.DistanceType.L2, num_threads=1)

    def use(setting: Setting) -> Searches:
        index.search_window_size = int(setting["window"])
        return Searches(search, search)

    def search(queries: Floats) -> Any:
        return index.search(queries, K)[0]

    return Built(f"Vamana, float16, degree 32, window {width}", ladder("window", WIDTHS), use)


def pynndescent(vectors: Floats, _: Means) -> Built:
    from pynndescent import NNDescent

    index = NNDescent(vectors, metric="euclidean", n_neighbors=30, n_jobs=1, random_state=SEED)
    index.prepare()

    def use(setting: Setting) -> Searches:
        epsilon = setting["epsilon"]

        def search(queries: Floats) -> Any:
            return index.query(queries, K, epsilon)[0]

        return Searches(search, search)

    steps = (0.0, 0.03, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43)
    return Built("30 neighbours", ladder("epsilon", steps), use)


def rabitqlib(vectors: Floats, _: Means) -> Built:
    from rabitqlib import SymqgIndex

    width = construction(len(vectors))
    index = SymqgIndex(vectors.shape[1], 32, "l2")
    index.build(vectors, width, 1)

    def use(setting: Setting) -> Searches:
        ef = int(setting["ef"])

        def search(queries: Floats) -> Any:
            return index.search(queries, K, ef)[0]

        return Searches(search, search)

    return Built(f"SymphonyQG, degree 32, ef_construction {width}", ladder("ef", WIDTHS), use)


def annoy(vectors: Floats, _: Means) -> Built:
    from annoy import AnnoyIndex

    index = AnnoyIndex(vectors.shape[1], "euclidean")
    index.set_seed(SEED)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(100, n_jobs=1)

    def use(setting: Setting) -> Searches:
        nodes = int(setting["search_k"])
        return Searches(lambda query: index.get_nns_by_vector(query[0], K, nodes))

    return Built("100 trees", ladder("search_k", [500 * 2**step for step in range(9)]), use)


def ngt(vectors: Floats, means: Means) -> Built:
    import ngtpy

    folder = str(means.folder / "ngt")
    ngtpy.create(folder, vectors.shape[1], edge_size_for_creation=20, distance_type="L2")
    index = ngtpy.Index(folder, log_disabled=True)
    index.batch_insert(vectors, num_threads=1)

    def use(setting: Setting) -> Searches:
        epsilon = setting["epsilon"]
        return Searches(lambda query: [row for row, _ in index.search(query[0], K, epsilon)])

    steps = (-0.1, -0.05, 0.0, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3)
    return Built("ANNG, 20 edges", ladder("epsilon", steps), use)


def glass(vectors: Floats, _: Means) -> Built:
    import glass as library

    width = construction(len(vectors))
    library.set_num_threads(1)
    graph = library.Index("HNSW", "L2", "SQ8U", 32, width).build(vectors)
    searcher = library.Searcher(graph, vectors, "L2", "SQ8U", "FP16")
    searcher.optimize(1)

    def use(setting: Setting) -> Searches:
        searcher.set_ef(int(setting["ef"]))
        return Searches(
            lambda query: searcher.search(query[0], K)[0],
            lambda queries: searcher.batch_search(queries, K, 1)[0],
        )

    return Built(f"HNSW R 32 L {width}, SQ8U, refined by FP16", ladder("ef", WIDTHS), use)


def vsag(vectors: Floats, _: Means) -> Built:
    import pyvsag

    width = construction(len(vectors))
    pyvsag.set_logger_off()
    n, d = vectors.shape
    parameters = {
        "base_quantization_type": "sq8_uniform",
        "use_reorder": True,
        "precise_quantization_type": "fp32",
        "max_degree": 32,
        "ef_construction": width,
        "build_thread_count": 1,
    }
    index = pyvsag.Index(
        "hgraph", json.dumps({"dtype": "float32", "metric_type": "l2", "dim": d, "index_param": parameters})
    )
    index.build(vectors, np.arange(n), n, d)

    def use(setting: Setting) -> Searches:
        asked = json.dumps({"hgraph": {"ef_search": int(setting["ef"])}})
        return Searches(lambda query: index.knn_search(query[0], K, asked)[0])

    return Built(f"HGraph, degree 32, ef_construction {width}, sq8_uniform refined by fp32", ladder("ef", WIDTHS), use)


def lorann(vectors: Floats, _: Means) -> Built:
    from lorann import L2, LorannIndex

    n, d = vectors.shape
    clusters = max(1, round(math.sqrt(n)))
    narrow = None if d < 200 else 128 if d <= 1000 else 256
    index = LorannIndex(vectors, clusters, narrow, distance=L2)
    index.build(n_threads=1)

    def use(setting: Setting) -> Searches:
        looked, again = int(setting["clusters"]), int(setting["rerank"])
        return Searches(
            lambda query: index.search(query[0], K, looked, again),
            lambda queries: index.search(queries, K, looked, again, n_threads=1),
        )

    return Built(
        f"{clusters} clusters, rank 32, 8 bits", grid(rerank=(50, 150, 400), clusters=probes(2 * clusters)), use
    )

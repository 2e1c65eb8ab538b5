"""The embedding in two dimensions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE = 2000
"""Points that are drawn: more take minutes, and hide one another."""

_FEWEST = 10
"""Points below which neighbourhoods say nothing, and the two main directions do."""


def two_dimensions(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Places (n, 2) of unit vectors (n, d): near ones are near, and far ones need not be far.

    t-SNE (van der Maaten and Hinton 2008, "Visualizing Data using t-SNE") from the first two principal components,
    by scikit-learn.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n, d = vectors.shape
    if n < _FEWEST or d < 2:
        places = np.zeros((n, 2))
        if n > 1:
            parts = min(2, d, n)
            places[:, :parts] = PCA(parts, random_state=seed).fit_transform(vectors.astype(np.float64))
        return places
    distinct = len(np.unique(vectors, axis=0))
    if distinct < 3:  # nothing to draw apart, and t-SNE would divide by zero
        return np.asarray(vectors[:, :2], dtype=np.float64)
    made = TSNE(
        perplexity=min(30, (n - 1) / 3), init="pca", metric="euclidean", learning_rate="auto", random_state=seed
    ).fit_transform(vectors)
    return np.asarray(made, dtype=np.float64)

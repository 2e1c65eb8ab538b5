"""Training an embedding: the recipe, the loop, what watches it, and what it leaves behind.

Nothing is imported here, so that ``retrieval train --help`` need not wait for torch.
"""

from __future__ import annotations

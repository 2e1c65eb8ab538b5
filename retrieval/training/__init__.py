"""Training an embedding or a pair network: the recipe, the steps, what watches them, and what they leave behind.

Nothing is imported here, so that ``retrieval train --help`` need not wait for torch.
"""

from __future__ import annotations

"""An index somewhere else, asked over HTTP as one on the disk is asked."""

from retrieval.client.client import Client, is_address

__all__ = ["Client", "is_address"]

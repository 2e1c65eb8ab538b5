"""What every room stands on: files that are whole or absent, hostile files read apart, text for terminals, progress."""

from __future__ import annotations

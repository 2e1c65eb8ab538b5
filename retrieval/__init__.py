"""From a folder of pictures to a search engine you can trust."""

__version__ = "0.1.0"

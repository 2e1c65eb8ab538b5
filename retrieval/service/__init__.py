"""Search by picture over HTTP: indexes and folders of pictures, served by one process.

``docs/serving.md`` describes it for who runs and uses it. :func:`retrieval.service.server.serve` starts it;
:func:`retrieval.service.app.create_app` makes the ASGI application alone.
"""

"""Where pictures lie: in a folder, or in an object store, which is read through fsspec."""

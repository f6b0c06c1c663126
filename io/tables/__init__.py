"""Delta Lake and Iceberg tables over files of this room: registered, and read at a version."""

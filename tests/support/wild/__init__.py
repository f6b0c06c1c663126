"""Datasets as found in the wild, each with what must come out of it.

``truth``      articles of sentences, and the answers to them, computed without the product
``tables``     Parquet files as pandas, polars, DuckDB and others write them
``names``      tables with the names of columns that people and databases give
``folders``    folders of several files: shards, hive partitions, Hugging Face, Spark
``arrays``     what is packed first: NPY, NPZ, JSON lines
``contexts``   windows as people write them
``doubtful``   datasets that a person has to decide about, or that nobody can read
``pasting``    commands, pasted from what another command printed
``checking``   an output, compared with the answers
"""

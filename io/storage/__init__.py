"""Where bytes are: local paths, object stores, who may write there."""

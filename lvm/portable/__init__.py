"""Models as graphs of ONNX, which run without torch and without this package."""

"""What the engine knows by training. Importing it keeps ONNX Runtime to itself."""

import os

# From 1.29 on its Linux wheels report models and sessions to Microsoft, and leave files in the
# home folder. It reads this when it is imported, so before any module here does.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

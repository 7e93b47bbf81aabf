#!/usr/bin/env bash
# All that a machine with a CUDA device can tell: the tests marked gpu.
# Usage: benchmarks/gpu.sh [python]   (a Python with torch, numpy, safetensors and pytest; nothing is installed)
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${1:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.__version__, torch.cuda.get_device_name())'
"$PYTHON" -m pytest -q -p no:cacheprovider -W ignore --show-capture=no --tb=short -m gpu tests/kernels tests/export

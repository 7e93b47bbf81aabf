#!/usr/bin/env bash
# All that a machine with a CUDA device can tell: the tests marked gpu, then every CUDA benchmark. Nothing is installed or
# built. Each section is a process of its own with a time limit and a log; a failing one does not stop the others, and
# the exit status says at the end whether all went well.
#
# Usage: benchmarks/gpu.sh [-o OUT] [SECTION ...]
#   OUT       folder for summary.txt (how each section ended, and the table of targets) and gpu.tar.gz (all JSON and
#             logs; unpack it in benchmarks/results); without it the JSON files go to benchmarks/results
#   SECTION   tests, or the name of a benchmark (default: all; python -m benchmarks --list --device cuda names them)
# Environment: PYTHON (python3; it needs torch, triton, numpy, safetensors and pytest), TEST_SECONDS (240) and
#   BENCH_SECONDS (300), the time limits of a section; peers are taken from PYTHONPATH.
set -uo pipefail
PYTHON="${PYTHON:-python3}"
OUT=""
if [[ "${1:-}" == "-o" ]]; then
    mkdir -p "$2"
    OUT="$(cd "$2" && pwd)"
    shift 2
fi
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
FOUND="$(mktemp -d)"
trap 'rm -rf "$FOUND"' EXIT
RESULTS="${OUT:+$FOUND}"
RESULTS="${RESULTS:-benchmarks/results}"

"$PYTHON" -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.__version__, torch.cuda.get_device_name())' || exit 1

FAILED=0
section() { # name, seconds, command ...
    local name="$1" seconds="$2" start=$SECONDS ended="passed" status
    shift 2
    echo "== $name"
    timeout -k 10 "$seconds" "$@" 2>&1 | tee "$FOUND/$name.log"
    status=${PIPESTATUS[0]}
    if ((status != 0)); then
        FAILED=1
        ended="FAILED ($status)"
        ((status == 124 || status == 137)) && ended="FAILED (longer than $seconds s)"
    fi
    printf '%-32s%s, %d s\n' "$name" "$ended" $((SECONDS - start)) | tee -a "$FOUND/summary.txt"
}

if (($# == 0)); then
    LISTED="$("$PYTHON" -m benchmarks --list --device cuda)" || FAILED=1
    mapfile -t NAMES < <(awk '{print $1}' <<<"$LISTED")
    set -- tests "${NAMES[@]}"
fi
for name in "$@"; do
    if [[ "$name" == tests ]]; then
        # A file each: after an illegal access the rest of a process could only fail.
        for file in $(grep -rlE --include='test_*.py' 'mark\.gpu' tests | sort); do
            section "$(basename "$file" .py)" "${TEST_SECONDS:-240}" "$PYTHON" -m pytest -q -p no:cacheprovider \
                -W ignore --show-capture=no --tb=short -m gpu "$file"
        done
    elif [[ -n "$name" ]]; then
        section "$name" "${BENCH_SECONDS:-300}" "$PYTHON" -m benchmarks "$name" --device cuda --out "$RESULTS"
    fi
done

echo
echo "== summary"
"$PYTHON" -m benchmarks --targets --out "$RESULTS" | tee -a "$FOUND/summary.txt" >/dev/null
cat "$FOUND/summary.txt"
if [[ -n "$OUT" ]]; then
    cp "$FOUND/summary.txt" "$OUT/summary.txt"
    tar -czf "$OUT/gpu.tar.gz" -C "$FOUND" .
fi
exit "$FAILED"

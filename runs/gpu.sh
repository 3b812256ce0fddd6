#!/bin/sh
# Train the portrait reader in a few minutes of a GPU: samples are made on all cores while the GPU learns from those that are
# finished. Needs a clone and python3 with torch, numpy, numba, opencv, scipy and safetensors; no network.
#   runs/gpu.sh [--minutes 8] [--device cuda] [--begin WEIGHTS]
# OUT receives weights.safetensors, curve.jsonl and state.pt. Continue an earlier call by putting its state.pt into OUT, or
# begin with its weights (--begin); without either it begins with the weights that ship. SAMPLES says where the samples go.
set -e
minutes=8 device=cuda begin=
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2 ;;
        --device) device=$2 ;;
        --begin) begin=$2 ;;
        *) echo "runs/gpu.sh: $1 is no option; there are --minutes, --device and --begin." >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
out=${OUT:-runs/gpu} samples=${SAMPLES:-samples/gpu} cores=$(nproc)
begin=${begin:-src/portrait360/assets/small/reader.safetensors}
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
mkdir -p "$out" "$samples"
python3 - <<'CHECK'
import importlib.util, sys
missing = [n for n in ("torch", "numpy", "numba", "cv2", "scipy", "safetensors") if not importlib.util.find_spec(n)]
sys.exit(f"runs/gpu.sh: this python lacks {', '.join(missing)}." if missing else 0)
CHECK
start=$(date +%s)
makers=$([ "$cores" -gt 3 ] && echo $((cores - 2)) || echo 1)
# a first part to begin with and one to validate on, then as many as there is time for
python3 -m portrait360.training.data.reader_samples -o "$samples/val" --split val --count "${VALIDATION:-60}" --processes "$makers"
python3 -m portrait360.training.data.reader_samples -o "$samples/train" --count "${FIRST:-640}" --processes "$makers"
python3 -m portrait360.training.data.reader_samples -o "$samples/train" --count 1000000 --processes "$makers" >"$out/samples.log" 2>&1 &
maker=$!
trap 'kill $maker 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
# each round sees the people that have been made by then; the state is kept between rounds
for share in 20 35 60 100; do
    python3 - "$samples" "$out" "$begin" "$device" "$minutes" "$share" "$start" <<'TRAIN'
import sys, time
from pathlib import Path
from portrait360.training.session import train_recipe
samples, out, begin, device, minutes, share, start = sys.argv[1:]
left = float(minutes) * float(share) / 100 - (time.time() - float(start)) / 60
if left > 0.05:
    step = train_recipe("reader-tune", Path(samples) / "train", Path(samples) / "val", Path(out), init_from=Path(begin),
                        minutes=left, steps=None, device=device)
    people = len(list((Path(samples) / "train").glob("*.done")))
    print(f"{step} steps, {people} people, {(time.time() - float(start)) / 60:.1f} minutes", flush=True)
TRAIN
done
ls -l "$out"

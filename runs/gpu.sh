#!/bin/sh
# Train a network in a few minutes of a GPU: samples are made on all cores while the GPU learns from those that are
# finished. Needs a clone and python3 with torch, numpy, numba, opencv, scipy and safetensors; no network.
#   runs/gpu.sh [--what reader|denoiser|together] [--minutes 8] [--device cuda] [--begin WEIGHTS]
# reader: the portrait reader. denoiser: the view denoiser over the avatar. together: its cross-view attention, from the
# weights of `denoiser`.
# OUT receives weights.safetensors, curve.jsonl and state.pt. Continue an earlier call by putting its state.pt into OUT, or
# begin with its weights (--begin); without either, a reader begins with the weights that ship, a denoiser with none.
# SAMPLES says where the samples go.
set -e
what=reader minutes=8 device=cuda begin=
while [ $# -gt 0 ]; do
    case $1 in
        --what) what=$2 ;;
        --minutes) minutes=$2 ;;
        --device) device=$2 ;;
        --begin) begin=$2 ;;
        *) echo "runs/gpu.sh: $1 is no option; there are --what, --minutes, --device and --begin." >&2; exit 2 ;;
    esac
    shift 2
done
begin=${begin:+$(realpath "$begin")}
cd "$(dirname "$0")/.."
out=${OUT:-runs/gpu} cores=$(nproc)
case $what in
    reader)
        recipe=reader-tune batch= samples=${SAMPLES:-samples/gpu} maker=reader_samples
        begin=${begin:-src/portrait360/assets/small/reader.safetensors}
        validation=${VALIDATION:-60} first=${FIRST:-640} few= ;;
    denoiser | together)
        recipe=views batch=16 samples=${SAMPLES:-samples/gpu-views} maker=avatar_view_samples
        [ "$what" = denoiser ] || { recipe=views-together batch=8; }
        validation=${VALIDATION:-14} first=${FIRST:-42} few="--arcs 1 --real ${REAL:-1}" ;;
    *) echo "runs/gpu.sh: there is no $what to train; choose reader, denoiser or together." >&2; exit 2 ;;
esac
[ "$device" = cuda ] || batch=  # a step that is as small as a CPU needs it
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
mkdir -p "$out" "$samples"
python3 - "$device" <<'CHECK'
import importlib.util, sys
missing = [n for n in ("torch", "numpy", "numba", "cv2", "scipy", "safetensors") if not importlib.util.find_spec(n)]
if missing:
    sys.exit(f"runs/gpu.sh: this python lacks {', '.join(missing)}.")
import torch
if sys.argv[1] == "cuda" and not torch.cuda.is_available():
    sys.exit("runs/gpu.sh: torch finds no GPU here; choose --device cpu.")
name = torch.cuda.get_device_name() if sys.argv[1] == "cuda" else "CPU"
print(f"torch {torch.__version__}, {name}", flush=True)
CHECK
start=$(date +%s)
makers=$([ "$cores" -gt 3 ] && echo $((cores - 2)) || echo 1)
make="python3 -m portrait360.training.data.$maker --processes $makers"
# a first part to begin with and one to validate on, then as many as there is time for
$make -o "$samples/val" --split val --count "$validation" $few
$make -o "$samples/train" --count "$first"
$make -o "$samples/train" --count 10000 >"$out/samples.log" 2>&1 &
job=$!
trap 'kill $job 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
# each round sees the people that have been made by then; the state is kept between rounds
for share in 20 35 60 100; do
    python3 - "$samples" "$out" "$recipe" "$begin" "$device" "${BATCH:-$batch}" "$minutes" "$share" "$start" <<'TRAIN'
import sys, time
from pathlib import Path
from portrait360.training.session import train_recipe
samples, out, recipe, begin, device, batch, minutes, share, start = sys.argv[1:]
left = float(minutes) * float(share) / 100 - (time.time() - float(start)) / 60
if left > 0.05 or (share == "100" and not (Path(out) / "weights.safetensors").is_file()):
    step = train_recipe(recipe, Path(samples) / "train", Path(samples) / "val", Path(out), minutes=max(left, 0.05),
                        init_from=Path(begin) if begin else None, steps=None, device=device,
                        batch=int(batch) if batch else None)
    people = len(list((Path(samples) / "train").glob("*.done")))
    print(f"{step} steps, {people} people, {(time.time() - float(start)) / 60:.1f} minutes", flush=True)
TRAIN
done
find "$out" -name '*.safetensors' -size +16000k -exec echo "runs/gpu.sh: {} is larger than 16 MB." \; >&2
ls -l "$out"

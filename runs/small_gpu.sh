#!/bin/sh
# The small model from nothing on all GPUs of a machine, whose cores make the samples. Nobody has run this file yet.
# Every line goes on where it was stopped.
set -e
cores=$(nproc)
gpus=$(nvidia-smi --list-gpus | wc -l)
portrait360 train samples map -o samples/val --split val --count 12 --workers "$cores"
portrait360 train samples map -o samples/train --count "${IDENTITIES:-5000}" --workers "$cores"
torchrun --nproc-per-node "$gpus" -m portrait360 train run map --samples samples/train --validation samples/val \
    -o runs/map --minutes "${MINUTES:-60}" --device cuda
python -m benchmarks.small runs/map/weights.safetensors --sheets runs/map/sheets

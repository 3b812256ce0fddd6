#!/bin/sh
# The small model from nothing on a machine without a GPU. Every line goes on where it was stopped.
# IDENTITIES and MINUTES say how much: 5 seconds of one core a sample, four samples an identity.
set -e
python -m portrait360.training.data.head_map_samples -o samples/val --split val --count 12
python -m portrait360.training.data.head_map_samples -o samples/train --count "${IDENTITIES:-500}"
portrait360 train run map --samples samples/train --validation samples/val -o runs/map --minutes "${MINUTES:-360}"
python -m benchmarks.small runs/map/weights.safetensors --sheets runs/map/sheets

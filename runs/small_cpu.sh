#!/bin/sh
# The small model from nothing on a machine without a GPU. Every line goes on where it was stopped.
# PEOPLE, IDENTITIES and MINUTES say how much. The reader: 10 pictures a second on two cores, four of each person; the map
# completer: 5 seconds of one core a sample, four of each identity. SKINS is a folder of skin textures, if there is one.
set -e
portrait360 train samples reader -o samples/read-val --split val --count 60
portrait360 train samples reader -o samples/read-test --split test --count 500
portrait360 train samples reader -o samples/read --count "${PEOPLE:-4000}" ${SKINS:+--skins "$SKINS"}
portrait360 train run reader --samples samples/read --validation samples/read-val -o runs/reader --minutes "${MINUTES:-360}"
portrait360 train run reader-head --samples samples/read --validation samples/read-val -o runs/reader-head \
    --begin runs/reader/weights.safetensors --minutes "${MINUTES:-360}"
portrait360 train run reader-tune --samples samples/read --validation samples/read-val -o runs/reader-tune \
    --begin runs/reader-head/weights.safetensors --minutes "${MINUTES:-360}"
python -m benchmarks.reader samples/read-test --weights runs/reader-tune/weights.safetensors

portrait360 train samples map -o samples/val --split val --count 12
portrait360 train samples map -o samples/train --count "${IDENTITIES:-500}"
portrait360 train run map --samples samples/train --validation samples/val -o runs/map --minutes "${MINUTES:-360}"
python -m benchmarks.small runs/map/weights.safetensors --sheets runs/map/sheets

#!/bin/sh
# Installs a wheel into an empty environment and makes a first look from outside of the source tree.
set -eu
wheel=$(realpath "$1")
photo=$(realpath examples/astronaut.png)
most=41943040 # bytes: 40 MB
size=$(wc -c < "$wheel")
[ "$size" -le "$most" ] || { echo "The wheel has $size bytes; at most $most may be uploaded." >&2; exit 1; }
list="import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep='\\n')"
if ${PYTHON:-python3} -c "$list" "$wheel" | grep -vE '^portrait360(-[^/]*\.dist-info)?/|^$' | grep .; then
    echo "The wheel holds these files of no package." >&2
    exit 1
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
${PYTHON:-python3} -m venv venv
venv/bin/python -m pip install --quiet ${TORCH:-torch}
venv/bin/python -m pip install --quiet "$wheel"
venv/bin/portrait360 --version
venv/bin/portrait360 make "$photo" -o out --views 8 --no-fit
test -s out/sheet.png
venv/bin/python -c "import portrait360; print(portrait360.__file__)" | grep -q "$place"

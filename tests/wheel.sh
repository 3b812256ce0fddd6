#!/bin/sh
# Installs a wheel into an empty environment and makes a first look from outside of the source tree.
set -eu
wheel=$(realpath "$1")
photo=$(realpath examples/astronaut.png)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
${PYTHON:-python3} -m venv venv
venv/bin/python -m pip install --quiet "${TORCH:-torch}"
venv/bin/python -m pip install --quiet "$wheel"
venv/bin/portrait360 --version
venv/bin/portrait360 make "$photo" -o out --views 8 --no-fit
test -s out/sheet.png
venv/bin/python -c "import portrait360; print(portrait360.__file__)" | grep -q "$place"

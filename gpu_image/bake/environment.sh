#!/usr/bin/env bash
# environment.sh NAME REQUIREMENTS: a Python 3.10 environment, /srv/tl-fif/NAME, of exactly the pinned
# wheels, each checked against its hash; nothing is built. Every module is compiled.
set -euo pipefail
readonly IMAGE=/srv/tl-fif/gpu_image TARGET=/srv/tl-fif/$1 REQUIREMENTS=$2
readonly UV=/var/tmp/tl-fif-uv
# On the disk of the environment: what was unpacked is linked, not copied.
export UV_CACHE_DIR=/var/tmp/tl-fif-uv-cache UV_LINK_MODE=hardlink UV_NO_CONFIG=1

if [ ! -x "$UV/bin/uv" ]; then
  python3.10 -m venv "$UV"
  "$UV/bin/pip" install --quiet --no-deps --require-hashes --only-binary :all: -r "$IMAGE/bake/uv.txt"
fi
rm -rf "$TARGET"
"$UV/bin/uv" venv --quiet --no-python-downloads --python "$(command -v python3.10)" "$TARGET"
"$UV/bin/uv" pip install --quiet --python "$TARGET/bin/python" --compile-bytecode \
  --require-hashes --only-binary :all: -r "$IMAGE/$REQUIREMENTS"
# uv's lock is for everybody to write; nobody installs here any more.
rm -f "$TARGET/.lock"
"$TARGET/bin/python" --version
du -sh "$TARGET"

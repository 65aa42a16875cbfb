#!/usr/bin/env bash
# Our own software: root's, readable by all, compiled. (The component unpacks it; see component.yaml.)
set -euo pipefail
cd /srv/tl-fif

chown -R root:root tlfif worker gpu_image model.json
chmod -R u=rwX,go=rX tlfif worker gpu_image model.json
# What runs from the disk is compiled for good: nobody on the node may write here.
python3.10 -m compileall -q -f tlfif worker gpu_image
install -d -o tl-fif -g tl-fif -m 0755 cache

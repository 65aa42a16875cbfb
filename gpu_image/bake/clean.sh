#!/usr/bin/env bash
# What only the bake needed: the snapshot is paid for by the GB, and read at the first boot.
set -euo pipefail
rm -rf /var/tmp/tl-fif-uv /var/tmp/tl-fif-uv-cache /var/tmp/tl-fif-software.zip ~root/.cache
apt-get -qq clean
rm -rf /var/lib/apt/lists/*
sync
du -sh /srv/tl-fif/* | sort -h

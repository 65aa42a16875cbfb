#!/usr/bin/env bash
# What the node needs of its distribution, and the user that everything but nginx runs as.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# What apt's own timers do at a first boot is waited for; the disk is synced once, at the end (clean.sh).
apt_get() { apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-unsafe-io "$@"; }

# Before cloud-init has ended it may still write apt's sources.
if command -v cloud-init >/dev/null; then
  cloud-init status --wait >/dev/null || true
fi
# No package starts its service here: what runs on the node, and when, is decided by services.sh.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT

# gcc and Python's headers: Triton compiles a stub for each kernel's launch. openssl: nginx's certificate.
packages=(python3.10-venv python3.10-dev gcc libc6-dev libgomp1 nginx openssl ca-certificates curl gpg)
apt_get update
apt_get install -y --no-install-recommends "${packages[@]}"

id tl-fif >/dev/null 2>&1 \
  || useradd --system --user-group --home-dir /var/lib/tl-fif --shell /usr/sbin/nologin tl-fif
install -d -o tl-fif -g tl-fif -m 0750 /var/lib/tl-fif

#!/usr/bin/env bash
# NVIDIA's driver, as modules that Ubuntu built and signed for its kernel on AWS: no compiler runs at
# a kernel's change, and no GPU is needed to install it. CUDA 12 itself comes with vLLM's wheels.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# What apt's own timers do at a first boot is waited for; the disk is synced once, at the end (clean.sh).
apt_get() { apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-unsafe-io "$@"; }
readonly BRANCH=570-server

packages=(
  "linux-modules-nvidia-$BRANCH-aws"
  "nvidia-headless-no-dkms-$BRANCH"
  "nvidia-utils-$BRANCH"
  # Makes /dev/nvidia-uvm for a process that is not root's.
  nvidia-modprobe
)
apt_get install -y --no-install-recommends "${packages[@]}"
# A kernel newer than its modules would leave the GPU without a driver.
apt-mark hold linux-aws linux-image-aws linux-headers-aws "${packages[@]}" >/dev/null
printf 'nvidia\nnvidia_uvm\n' >/etc/modules-load.d/tl-fif.conf

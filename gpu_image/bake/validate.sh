#!/usr/bin/env bash
# Whether the image is what it says; validate.sh {node|vllm|driver|agent}. The first failure ends it.
set -euo pipefail
readonly ROOT=/srv/tl-fif
readonly IMAGE=$ROOT/gpu_image

fail() { echo "validate.sh $part: $*" >&2; exit 1; }
owner() { [ "$(stat -c %U:%G "$1")" = "$2" ] || fail "$1 belongs to $(stat -c %U:%G "$1"), not to $2"; }

# Python 3.10, our software, its configuration files, the weights, the units.
validate_node() {
  local folder open unit
  "$ROOT/watcher/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' \
    || fail "the watcher's Python is not 3.10"
  (cd / && runuser -u tl-fif -- env PYTHONPATH="$ROOT:$IMAGE" "$ROOT/watcher/bin/python" -c 'import watcher.main')
  # tl-fif.service makes these when it starts; supervisord wants to see them.
  install -d /run/tl-fif /var/log/tl-fif
  "$ROOT/watcher/bin/python" - "$IMAGE/supervisord.conf" <<'PY' || fail "supervisord.conf is refused"
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["--configuration", sys.argv[1]])
print("supervisord:", ", ".join(sorted(group.name for group in options.process_group_configs)))
PY
  # The certificate that nginx.conf names is made at the node's first boot: no image has a key.
  "$ROOT/watcher/bin/python" -I -S "$IMAGE/certificate.py" /etc/ssl/tl-fif/node.pem \
    /usr/sbin/nginx -t -q -c "$IMAGE/nginx.conf" || fail "nginx.conf is refused"
  rm -rf /etc/ssl/tl-fif
  PYTHONPATH=$ROOT "$ROOT/watcher/bin/python" "$IMAGE/bake/check_model.py"
  for folder in tlfif worker gpu_image watcher model; do
    owner "$ROOT/$folder" root:root
    open=$(find "$ROOT/$folder" -perm -o+w ! -type l -print -quit)
    [ -z "$open" ] || fail "anybody may write $open"
    runuser -u tl-fif -- find "$ROOT/$folder" -type f ! -readable -print -quit | grep . \
      && fail "tl-fif cannot read all of $folder"
  done
  owner "$ROOT/cache" tl-fif:tl-fif
  for unit in "$IMAGE"/*.service; do
    systemctl is-enabled --quiet "$(basename "$unit")" || fail "$(basename "$unit") is not enabled"
  done
  [ "$(systemctl is-enabled apt-daily-upgrade.timer 2>/dev/null)" = masked ] || fail "it would upgrade by itself"
}

# CUDA 12, with the T4's architecture, for Python 3.10; ptxas and a C compiler for Triton's kernels.
validate_vllm() {
  "$ROOT/vllm/bin/python" - <<'PY'
import sys, importlib.metadata as metadata
import torch
version = metadata.version("vllm")
print(f"Python {sys.version.split()[0]}, vLLM {version}, torch {torch.__version__}, CUDA {torch.version.cuda}")
assert sys.version_info[:2] == (3, 10) and version == "0.19.1", "not the pinned vLLM"
assert torch.version.cuda.startswith("12."), "not CUDA 12"
assert "sm_75" in torch._C._cuda_getArchFlags().split(), "no kernels for a T4"
PY
  "$ROOT"/vllm/lib/python3.10/site-packages/triton/backends/nvidia/bin/ptxas --version | tail -1
  printf '#include <Python.h>\nint main(void) { return 0; }\n' \
    | gcc -x c "-I$(python3.10 -c 'import sysconfig; print(sysconfig.get_path("include"))')" -o /dev/null - \
    || fail "no C compiler with Python's headers"
  ls "$ROOT"/cache/vllm/modelinfos/*.json >/dev/null || fail "the model's class was not looked at"
}

# The newest kernel, which is the one that boots, has a prebuilt module of the driver.
validate_driver() {
  local kernel
  kernel=$(find /boot -name 'vmlinuz-*-aws' | sort -V | tail -1)
  [ -n "$kernel" ] || fail "no kernel for AWS in /boot"
  modinfo -k "${kernel#/boot/vmlinuz-}" -F version nvidia || fail "$kernel has no nvidia module"
  [ ! -e /var/lib/dkms/nvidia ] || fail "the driver is built by DKMS"
  ldconfig -p | grep libcuda.so.1 >/dev/null || fail "no libcuda.so.1"
}

validate_agent() {
  systemctl is-enabled --quiet amazon-cloudwatch-agent || fail "the agent is not enabled"
}

part=${1:?node, vllm, driver or agent}
"validate_$part"

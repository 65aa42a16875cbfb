#!/usr/bin/env bash
# Fills the caches that the engine has on the node (gpu_image/serve.py names the same), as its user, and
# records what its start reads.
set -euo pipefail
readonly ROOT=/srv/tl-fif
readonly CACHE=$ROOT/cache
config=$ROOT/model/tokenizer
[ -d "$config" ] || config=$ROOT/model

import=(
  env HOME="$CACHE/home" XDG_CACHE_HOME="$CACHE" TRITON_CACHE_DIR="$CACHE/triton"
  VLLM_CACHE_ROOT="$CACHE/vllm" HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
  "$ROOT/vllm/bin/python" "$ROOT/gpu_image/bake/warm.py" "$config"
)
install -d -o tl-fif -g tl-fif "$CACHE"/{home,triton,vllm}
cd "$CACHE"
runuser -u tl-fif -- "${import[@]}"
python3 -I -S "$ROOT/gpu_image/readahead.py" record "$ROOT/readahead.json" --whole "$ROOT/model" -- \
  runuser -u tl-fif -- "${import[@]}"

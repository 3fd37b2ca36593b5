#!/usr/bin/env bash
# Everything that needs a GPU, in one go and in under nine minutes, most important first: what the adapter offers, parity of
# every tier with PyTorch, the ladder, whole models, rivals, training, kernels, files. Each step has its own limit, and what is
# left of the nine minutes is one too; one that fails or runs out of time is said at the end and the others go on.
#
#   bench/on-gpu.sh pack          # where Node and npm are: builds dist/ and dist-bench/, and packs what --rivals installs
#   bench/on-gpu.sh [FOLDER]      # on the machine with the GPU (Node, Vulkan and node_modules at hand): JSON and a log there
#
# A machine that has no npm needs the checkout with node_modules/, dist/, dist-bench/ and, for onnxruntime, .gpu/rivals.tar.xz.
# `STYLIZING_VIT_ADAPTER=software bench/on-gpu.sh FOLDER` tries the script itself on a CPU, with what is quick there.
# Exit code: 0 all steps done, 1 some failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = pack ]; then
  set -e
  node bench/run.mjs --compile
  mkdir -p .gpu
  if [ -d bench/rivals/node_modules ]; then
    tar -C bench/rivals -c --exclude='*/onnxruntime-node/bin/*/darwin' --exclude='*/onnxruntime-node/bin/*/win32' \
      --exclude='*/onnxruntime-node/bin/*/*/arm64' node_modules | xz -6 -T0 > .gpu/rivals.tar.xz
  else
    echo "on-gpu.sh: no bench/rivals/node_modules: run a bench with --rivals once, or go without onnxruntime" >&2
  fi
  du -sh dist dist-bench .gpu/rivals.tar.xz 2>/dev/null
  exit
fi

out="${1:-${OUT:-bench/results/new}}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
adapter="${STYLIZING_VIT_ADAPTER:-hardware}"
[ -f dist-bench/bench/main.js ] && export STYLIZING_VIT_PREBUILT=1
if [ ! -d bench/rivals/node_modules ] && [ -f .gpu/rivals.tar.xz ]; then tar -C bench/rivals -xJf .gpu/rivals.tar.xz; fi
failed=()
began=$SECONDS
# Seconds of all steps together, and fewer than which are not worth a step.
total=530
least=10

# step NAME LIMIT COMMAND...: seconds that it may take, then what is run.
step() {
  local name="$1" limit="$2" start=$SECONDS code
  local left=$((total - (SECONDS - began)))
  shift 2
  if [ "$left" -lt "$least" ]; then
    failed+=("$name: left out, no time remains")
    return
  fi
  [ "$limit" -le "$left" ] || limit=$left
  printf '\n=== %s (at %d s)\n' "$name" "$((SECONDS - began))"
  timeout --kill-after=5 "$limit" "$@"
  code=$?
  [ $code = 0 ] || failed+=("$name: exit code $code after $((SECONDS - start)) s")
}
bench() { node bench/run.mjs --adapter "$adapter" "$@"; }
export -f bench
export adapter
measure() { local name="$1" limit="$2"; shift 2; step "$name" "$limit" bash -c 'bench "$@"' bench "$@" --json "$out/$name.json"; }

everything() {
  date -u +%FT%TZ
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv 2>/dev/null
  step doctor 60 node dist/command/main.js doctor --adapter "$adapter"
  node dist/command/main.js doctor --adapter "$adapter" --json > "$out/doctor.json" 2>/dev/null
  if [ "$adapter" = software ]; then
    measure parity 90 --parity --precision f32,f16
    measure ladder 120 --ladder --quick
    measure models 120 --model demo --batch 1,4 --quick
    measure training 150 --training nano --rivals --batch 2 --quick
    measure files 90 --files --model demo --batch 4 --quick
  else
    measure parity 60 --parity
    # Every op, shape and tier against float64, where the test runner came along.
    [ -d node_modules/vitest ] && STYLIZING_VIT_ADAPTER=hardware step tests 60 npx vitest run test/ops/linear.test.ts test/ops/attention.test.ts
    measure ladder 75 --ladder
    measure models 110 --model base,tiny --batch 1,64 --quick
    measure rivals 100 --rivals base --batch 64 --precision matrix --quick
    measure training 100 --training base --rivals --batch 16 --precision matrix --quick
    measure kernels 45 --op linear,attention,layer_norm --model base --batch 64 --precision f16,matrix --quick
    measure files 45 --files --model base --batch 64 --precision matrix --quick
    # What Dawn's own checks cost.
    STYLIZING_VIT_DAWN=skip_validation measure unchecked 30 --model base --batch 64 --precision matrix --quick
    measure training-f32 60 --training base --rivals --batch 16 --precision f32 --quick
  fi
  printf '\n=== %d steps failed, %d s in all\n' "${#failed[@]}" "$((SECONDS - began))"
  [ ${#failed[@]} = 0 ] || printf '%s\n' "${failed[@]}"
  [ ${#failed[@]} = 0 ]
}
everything 2>&1 | tee "$out/log.txt"
exit "${PIPESTATUS[0]}"

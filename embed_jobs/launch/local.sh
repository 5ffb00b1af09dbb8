#!/bin/sh
# One machine: every GPU it has, or its processor. Usage: launch/local.sh JOB.toml [more flags of `cxremb embed`]
set -eu
job=$1
shift
devices=auto
if command -v nvidia-smi >/dev/null 2>&1; then
    count=$(nvidia-smi --list-gpus | wc -l)
    [ "$count" -gt 1 ] && devices=$(seq -s, -f 'cuda:%g' 0 $((count - 1)))
fi
exec cxremb embed --job "$job" --device "$devices" --workers "$(nproc)" "$@"

#!/bin/sh
# A Ray cluster that is up (`ray start`); the store root must be on storage that all its nodes share.
# Usage: RAY_ADDRESS=auto launch/ray.sh JOB.toml WORKERS [more flags of `cxremb embed`]
set -eu
job=$1
workers=$2
shift 2
export RAY_ADDRESS="${RAY_ADDRESS:-auto}"
exec cxremb embed --job "$job" --engine ray --ray-workers "$workers" "$@"

#!/bin/sh
# A Slurm job array: each task writes its share, and a last job commits them. Run it again after a failure: what is
# finished is kept. The store root must be on shared storage. Usage: launch/slurm.sh JOB.toml SHARES [sbatch flags]
set -eu
job=$(realpath "$1")
shares=$2
shift 2
array=$(sbatch --parsable --array="0-$((shares - 1))" --gpus=1 --cpus-per-task=8 "$@" --wrap \
    "cxremb embed --job '$job' --shard \$SLURM_ARRAY_TASK_ID/$shares --workers \$SLURM_CPUS_PER_TASK")
# afterany: a share that failed is encoded by the last job, or named by it
sbatch --dependency="afterany:$array" --gpus=1 --cpus-per-task=8 "$@" --wrap "cxremb embed --job '$job'"
